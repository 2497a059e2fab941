// Package teams has a controller that records each namespace's team: for a namespace with the label "team", it keeps a
// ConfigMap of that name in it.
package teams

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// Label is the label of a namespace, the name of the ConfigMap in it, and the key in the ConfigMap.
const Label = "team"

// Reconciler maintains the ConfigMaps.
type Reconciler struct {
	client.Client
}

// SetupWithManager makes the reconciler watch namespaces and the ConfigMaps owned by them.
func (r *Reconciler) SetupWithManager(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).For(&corev1.Namespace{}).Owns(&corev1.ConfigMap{}).Complete(r)
}

// Reconcile makes one namespace's ConfigMap match its label.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var namespace corev1.Namespace
	if err := r.Get(ctx, request.NamespacedName, &namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	team, ok := namespace.Labels[Label]
	if !ok || namespace.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	configMap := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: Label, Namespace: namespace.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, &configMap, func() error {
		configMap.Data = map[string]string{Label: team}
		return controllerutil.SetControllerReference(&namespace, &configMap, r.Scheme())
	})
	return ctrl.Result{}, err
}
