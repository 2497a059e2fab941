"""A test with the official Python client, without any kina code: it uses the cluster in KUBECONFIG.

    cargo kina run -- python3 -m unittest -v test_shop
"""

import unittest

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException


class Shop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        config.load_kube_config()
        cls.core = client.CoreV1Api()

    def test_a_cluster_has_only_the_four_initial_namespaces(self):
        names = sorted(namespace.metadata.name for namespace in self.core.list_namespace().items)
        # "shop" belongs to the other test.
        names = [name for name in names if name != "shop"]
        self.assertEqual(names, ["default", "kube-node-lease", "kube-public", "kube-system"])

    def test_created_objects_are_watched_and_validated(self):
        namespace = client.V1Namespace(metadata=client.V1ObjectMeta(name="shop"))
        since = self.core.create_namespace(namespace).metadata.resource_version
        settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"currency": "EUR"})
        self.core.create_namespaced_config_map("shop", settings)
        events = watch.Watch().stream(
            self.core.list_namespaced_config_map, "shop", resource_version=since, timeout_seconds=30
        )
        seen = next(event["object"] for event in events if event["object"].metadata.name == "settings")
        self.assertEqual(seen.data, {"currency": "EUR"})

        nameless = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="Not A Name"))
        with self.assertRaises(ApiException) as refused:
            self.core.create_namespaced_config_map("shop", nameless)
        self.assertEqual(refused.exception.status, 422)


if __name__ == "__main__":
    unittest.main()
