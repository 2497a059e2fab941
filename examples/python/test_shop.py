"""A test with the official Python client, which knows nothing of kina: it asks the cluster that KUBECONFIG names.

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

    def test_a_cluster_has_its_four_namespaces_and_no_more(self):
        names = sorted(namespace.metadata.name for namespace in self.core.list_namespace().items)
        # "shop" is the other test's.
        names = [name for name in names if name != "shop"]
        self.assertEqual(names, ["default", "kube-node-lease", "kube-public", "kube-system"])

    def test_what_is_created_is_seen_by_who_watches_and_is_validated(self):
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
