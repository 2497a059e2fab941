package teams

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// There is no kina code here. By itself, envtest boots a control plane; in `cargo kina run -- go test`, it uses kina's
// cluster.
func TestANamespaceGetsItsTeam(t *testing.T) {
	log.SetLogger(zap.New(zap.UseDevMode(true)))
	environment := envtest.Environment{}
	config, err := environment.Start()
	if err != nil {
		t.Fatalf("no control plane: %v", err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})

	manager, err := ctrl.NewManager(config, ctrl.Options{Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Reconciler{Client: manager.GetClient()}).SetupWithManager(manager); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- manager.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("the manager: %v", err)
		}
	})

	labels := map[string]string{Label: "blue"}
	namespace := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels}}
	if err := manager.GetClient().Create(ctx, &namespace); err != nil {
		t.Fatal(err)
	}
	expectTeam(t, manager.GetAPIReader(), "blue")
	namespace.Labels[Label] = "green"
	if err := manager.GetClient().Update(ctx, &namespace); err != nil {
		t.Fatal(err)
	}
	expectTeam(t, manager.GetAPIReader(), "green")
}

func expectTeam(t *testing.T, reader client.Reader, team string) {
	t.Helper()
	key := types.NamespacedName{Namespace: "shop", Name: Label}
	var configMap corev1.ConfigMap
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = reader.Get(t.Context(), key, &configMap); err == nil && configMap.Data[Label] == team {
			return
		}
	}
	t.Fatalf("the namespace was not told that its team is %s: %v, %v", team, configMap.Data, err)
}
