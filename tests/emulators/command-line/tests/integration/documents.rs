//! The JSON documents have the shape of the reference's samples.

use container_command_line::{Version, compact, json, pretty};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const CONTAINERS: &str = r#"[{"configuration":{"capAdd":["ALL"],"capDrop":[],"creationDate":"2026-08-08T09:00:00Z",
"dns":{"nameservers":[],"options":[],"searchDomains":[]},"id":"kina-a1",
"image":{"descriptor":{"digest":"sha256:ce97","mediaType":"application/vnd.oci.image.index.v1+json","size":741},"reference":"docker.io/kindest/node:v1.35.5"},
"initProcess":{"arguments":["/sbin/init"],"environment":["container=docker"],"executable":"/usr/local/bin/entrypoint","rlimits":[],"supplementalGroups":[],"terminal":false,"user":{"id":{"gid":0,"uid":0}},"workingDirectory":"/"},
"labels":{"dev.kina.pool":"p1"},"maskedPaths":[],
"mounts":[{"destination":"/tmp","options":[],"source":"tmpfs","type":{"tmpfs":{}}}],
"networks":[{"network":"default","options":{"hostname":"kina-a1","mtu":1280}}],
"platform":{"architecture":"arm64","os":"linux"},
"publishedPorts":[{"containerPort":6443,"count":1,"hostAddress":"127.0.0.1","hostPort":36443,"proto":"tcp"}],
"publishedSockets":[],"readOnly":false,"readonlyPaths":[],"resources":{"cpuOverhead":1,"cpus":4,"memoryInBytes":4294967296},
"rosetta":false,"runtimeHandler":"container-runtime-linux","ssh":false,"stopSignal":"SIGRTMIN+3","sysctls":{},"useInit":false,"virtualization":false},
"id":"kina-a1","status":{"networks":[{"hostname":"kina-a1","ipv4Address":"192.168.64.5/24","ipv4Gateway":"192.168.64.1","ipv6Address":"fd00:1::f0ff:fe00:1/64","macAddress":"f2:00:00:00:00:01","mtu":1280,"network":"default","variant":"reserved"}],
"startedDate":"2026-08-08T09:00:02Z","state":"running"}}]"#;
const STATS: &str = r#"[{"blockReadBytes":1048576,"blockWriteBytes":524288,"cpuUsageUsec":5123456,"id":"kina-a1","memoryLimitBytes":4294967296,"memoryUsageBytes":1610612736,"networkRxBytes":20480,"networkTxBytes":10240,"numProcesses":210}]"#;
const IMAGES: &str = r#"[{"configuration":{"creationDate":"2026-06-02T00:00:00Z","descriptor":{"digest":"sha256:ce97","mediaType":"application/vnd.oci.image.index.v1+json","size":741},"name":"docker.io/kindest/node:v1.35.5"},"id":"ce97","variants":[{"config":{"architecture":"arm64","config":{"Entrypoint":["/usr/local/bin/entrypoint","/sbin/init"],"Env":["container=docker"],"StopSignal":"SIGRTMIN+3"},"os":"linux","rootfs":{"diff_ids":["sha256:aa"],"type":"layers"}},"digest":"sha256:bb","platform":{"architecture":"arm64","os":"linux"},"size":412345678}]}]"#;
const NETWORKS: &str = r#"[{"configuration":{"creationDate":"2026-08-08T08:00:00Z","labels":{"com.apple.container.resource.role":"builtin"},"mode":"nat","name":"default","options":{},"plugin":"container-network-vmnet"},"id":"default","status":{"ipv4Gateway":"192.168.64.1","ipv4Subnet":"192.168.64.0/24","ipv6Subnet":"fd00:1::/64"}}]"#;

/// Reads the sample and prints it: nothing may be lost or added.
fn survives<T: Serialize + DeserializeOwned>(sample: &str) -> Vec<T> {
    let expected: Value = serde_json::from_str(sample).expect("the sample is JSON");
    let documents: Vec<T> = serde_json::from_str(sample).expect("the sample has the shape");
    let printed = compact(&documents, Version::NEWEST).expect("a document prints");
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("printed JSON"), expected);
    assert!(!printed.contains('\n'));
    documents
}

#[test]
fn the_samples_survive() {
    let containers: Vec<json::Container> = survives(CONTAINERS);
    let container = &containers[0];
    assert!(
        container.extra.is_empty() && container.configuration.extra.is_empty() && container.status.extra.is_empty()
    );
    assert!(container.status.networks[0].extra.is_empty());
    assert!(container.configuration.init_process.extra.is_empty());
    assert!(survives::<json::Stats>(STATS)[0].extra.is_empty());
    let images: Vec<json::Image> = survives(IMAGES);
    assert!(images[0].extra.is_empty() && images[0].variants[0].extra.is_empty());
    let networks: Vec<json::Network> = survives(NETWORKS);
    assert!(networks[0].extra.is_empty() && networks[0].configuration.extra.is_empty());
}

#[test]
fn absent_keys_stay_absent_and_unknown_ones_are_kept() {
    let mut sample: Value = serde_json::from_str(CONTAINERS).expect("JSON");
    let configuration = sample[0]["configuration"].as_object_mut().expect("an object");
    for key in ["stopSignal", "maskedPaths", "readonlyPaths"] {
        configuration.remove(key);
    }
    configuration.insert("shmSize".to_owned(), 1024.into());
    configuration.insert("ofTomorrow".to_owned(), "x".into());
    let status = sample[0]["status"].as_object_mut().expect("an object");
    status.remove("startedDate");
    status["networks"][0].as_object_mut().expect("an object").remove("variant");
    let containers: Vec<json::Container> = survives(&sample.to_string());
    assert_eq!(containers[0].configuration.shm_size, Some(1024));
    assert!(containers[0].configuration.extra.contains_key("ofTomorrow"));
}

#[test]
fn slashes_are_escaped_before_1_4_1_only() {
    let documents: Vec<json::Container> = serde_json::from_str(CONTAINERS).expect("the sample has the shape");
    for (version, escaped) in [(Version::new(1, 0, 0), true), (Version::new(1, 3, 1), true), (Version::NEWEST, false)] {
        for printed in [compact(&documents, version), pretty(&documents, version)] {
            let printed = printed.expect("a document prints");
            assert_eq!(printed.contains(r"docker.io\/kindest\/node"), escaped, "{version}");
            let read: Vec<json::Container> = serde_json::from_str(&printed).expect("it reads back");
            assert_eq!(read, documents);
        }
    }
    assert!(pretty(&documents, Version::NEWEST).expect("it prints").contains('\n'));
}
