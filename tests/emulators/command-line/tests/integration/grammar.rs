//! The forms that the reference lists are understood, and no others.

use container_command_line::command::{Command, Format, MountKind};
use container_command_line::{Failure, Version, label, name_is_valid, parse};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn parsed(line: &str) -> Command {
    parse(&words(line), Version::NEWEST).unwrap_or_else(|error| panic!("`{line}`: {error}"))
}

#[test]
fn every_listed_form_is_understood() {
    for line in [
        "system start",
        "system start --enable-kernel-install --timeout 30 -a /tmp/root",
        "system start --disable-kernel-install --app-root /tmp/root",
        "system stop",
        "system logs --last 5m -f",
        "system df --format json",
        "system status",
        "system status --format json --debug",
        "system version --format json",
        "system property list --format toml",
        "system kernel set --recommended --force",
        "system kernel set --binary /k --arch arm64",
        "system kernel set --tar /k.tar --digest sha256:aa",
        "system dns create test",
        "system dns list",
        "create --name kina-a1 -l a=b --label c=d -c 2 -m 4g i",
        "create --cpus 2 --memory 209715200 --rm --cidfile /f -e K=V -e K --env-file /e -w / -u 0:0 --uid 0 --gid 0 i",
        "run -it i sh",
        "run -d -i -t --ulimit nofile=1:2 --progress none i",
        "run -p 80:80 -p 127.0.0.1:8000-8003:9000-9003/udp --publish 127.0.0.1:1:2/tcp --publish-socket /a:/b i",
        "run -v /a:/b -v /a:/b:ro -v name:/c -v /anonymous i",
        "run --mount type=bind,source=/a,target=/b,readonly --mount type=volume,source=v,target=/c i",
        "run --mount type=tmpfs,target=/t,size=64m,mode=1777 --tmpfs /run i",
        "run --cap-add ALL --cap-drop CHOWN --masked-path NONE --read-only-path NONE i",
        "run -k /k --kernel-arg quiet --init --init-image x --virtualization --rosetta --ssh --shm-size 1g i",
        "run --read-only --runtime r --network default,mac=02:00:00:00:00:01,mtu=1500 --network none i",
        "run --dns 1.1.1.1 --dns-search a --dns-option b --dns-domain d --no-dns i",
        "run -a arm64 --os linux --platform linux/arm64 --scheme https --max-concurrent-downloads 3 i",
        "create i --not-ours -x --",
        "start a1",
        "start -a a1",
        "stop a1 b2",
        "stop -t 30 -s SIGRTMIN+3 a1",
        "kill a1",
        "kill -s USR1 a1 b2",
        "delete a1",
        "delete -f a1 b2",
        "delete --all",
        "rm -f a1",
        "list",
        "ls -a -q",
        "list -a --format json",
        "inspect a1 b2",
        "exec a1 true",
        "exec -i -t -d -e K=V -u 0 -w / a1 sh -c exit",
        "exec -it a1 sh",
        "logs --boot -n 10 -f a1",
        "copy /a a1:/b",
        "cp a1:/b /a",
        "stats --format json --no-stream a1 b2",
        "stats",
        "export -o /f a1",
        "prune",
        "clean a1",
        "image pull --platform linux/arm64 --scheme https --progress none r",
        "image list --format yaml -q",
        "image inspect a b",
        "image load",
        "image load -i /f -f",
        "image save --platform linux/arm64 -o /f a b",
        "image tag a b",
        "image delete -f a b",
        "image rm a",
        "image prune -a",
        "network create --internal --subnet 10.0.0.0/24 --subnet-v6 fd00::/64 --label a=b n",
        "network delete a b",
        "network list --format json",
        "volume create -s 1g --opt journal=ordered --label a=b v",
        "volume delete v",
        "volume list",
        "build -t a -f F --platform linux/arm64 --build-arg K=V --progress plain -o type=oci,dest=/f .",
        "machine list",
        "k8s create --name x",
    ] {
        parsed(line);
    }
}

#[test]
fn anything_else_is_refused() {
    for line in [
        "",
        "pause a1",
        "commit a1",
        "checkpoint a1",
        "wait a1",
        "restart a1",
        "ps",
        "images",
        "pull r",
        "system",
        "system restart",
        "system property set a b",
        "system start --enable-kernel-install --disable-kernel-install",
        "system start --timeout soon",
        "system status --format=json",
        "system status --format xml",
        "system status extra",
        "system kernel set",
        "system kernel set --tar /k",
        "create",
        "create -d i",
        "create --progress none i",
        "create --privileged i",
        "create --restart always i",
        "create --hostname h i",
        "create --sysctl a=b i",
        "create --device d i",
        "create --security-opt s i",
        "create --cgroupns host i",
        "create --ip 1.2.3.4 i",
        "create --env K=V i",
        "create --volume /a:/b i",
        "create --entrypoint e i",
        "create --name=kina i",
        "create --name a1 --name b2 i",
        "create --name",
        "create --name -l i",
        "create --cpus 1.5 i",
        "create --memory 4GB i",
        "create --memory lots i",
        "create -lab i",
        "create --publish 80 i",
        "create --publish 0:80 i",
        "create --publish 80:99999 i",
        "create --publish 80-82:80-81 i",
        "create --publish localhost:80:80 i",
        "create --publish 80:80/sctp i",
        "create --mount type=bind,source=/a i",
        "create --mount type=bind,source=a,target=/b i",
        "create --mount type=bind,source=/a=b,target=/b i",
        "create --mount type=bind,source=/a,target=/b=c= i",
        "create --mount type=bind,src=/a,dst=/b i",
        "create --mount type=bind,source=/a,target=/b,ro i",
        "create --mount type=bind,source=/a,target=/b,readonly=true i",
        "create --mount type=bind,source=/a,target=/b,size=1m i",
        "create --mount source=/a,target=/b i",
        "create --tmpfs /t,size=1m i",
        "create -v /a:/b:rw i",
        "create -v a:b i",
        "create --network n,mtu=100 i",
        "create --network n,ip=1.2.3.4 i",
        "create -- i",
        "start",
        "start a1 b2",
        "start -i a1",
        "start --progress none a1",
        "stop",
        "stop a1 -t 5",
        "stop --time 5 a1",
        "stop --all",
        "stop -t -1 a1",
        "stop -t5 a1",
        "kill",
        "kill --signal HUP a1",
        "kill a1 -s HUP",
        "delete",
        "delete -f",
        "delete --force a1",
        "delete --all a1",
        "delete a1 -f",
        "list --all",
        "list --filter label=a",
        "list a1",
        "inspect",
        "inspect --format json a1",
        "exec a1",
        "exec --env K=V a1 true",
        "exec",
        "logs",
        "logs --tail 5 a1",
        "logs a1 b2",
        "cp /a /b",
        "cp a1:/a b2:/b",
        "cp a1:relative /b",
        "stats --no-stream=true",
        "export a1 -o /f",
        "image",
        "image load /f",
        "image load --input /f",
        "image list -a",
        "image tag a",
        "image push a",
        "network create",
        "network inspect default",
        "volume inspect v",
        "version",
        "--help",
        "help",
    ] {
        let outcome = parse(&words(line), Version::NEWEST);
        let error = outcome.expect_err(line);
        assert_eq!(Failure::from(error).exit_code(), 64, "{line}");
    }
}

#[test]
fn options_exist_from_their_version_on() {
    for (line, since) in [
        ("create --kernel-arg quiet i", Version::new(1, 2, 0)),
        ("create --masked-path NONE i", Version::new(1, 2, 1)),
        ("create --read-only-path NONE i", Version::new(1, 2, 1)),
        ("k8s list", Version::new(1, 2, 1)),
        ("clean a1", Version::new(1, 4, 1)),
    ] {
        assert!(parse(&words(line), since).is_ok(), "{line}");
        let before = Version { patch: 0, minor: since.minor - u16::from(since.patch == 0), ..since };
        assert!(parse(&words(line), before).is_err(), "{line}");
    }
}

#[test]
fn values_arrive_typed() {
    let line = "create --name a1 -m 4g -p 127.0.0.1:8000-8001:9000-9001 --mount type=bind,source=/s,target=/t,readonly i --x y";
    let Command::Create(create) = parsed(line) else { panic!("no create") };
    assert_eq!(create.memory_bytes, Some(4 << 30));
    assert_eq!(
        (create.publish[0].host_port, create.publish[0].container_port, create.publish[0].count),
        (8000, 9000, 2)
    );
    assert_eq!(create.publish[0].address.to_string(), "127.0.0.1");
    assert_eq!(create.mounts[0].kind, MountKind::Directory { source: "/s".to_owned() });
    assert!(create.mounts[0].read_only);
    let Command::Create(cut) = parsed("create --mount type=bind,source=/s=,target=/t i") else { panic!("no create") };
    assert_eq!(
        cut.mounts[0].kind,
        MountKind::Directory { source: "/s".to_owned() },
        "a trailing = is silently dropped"
    );
    assert_eq!(create.arguments, ["--x", "y"]);
    let Command::Create(create) = parsed("create -p 80:80 --masked-path NONE i") else { panic!("no create") };
    assert_eq!(create.publish[0].address.to_string(), "0.0.0.0", "the default is every address");
    assert_eq!((create.masked_paths, create.read_only_paths), (Some(Vec::new()), None));
    let Command::Exec { id, command, process, .. } = parsed("exec -i a1 sh -c -i") else { panic!("no exec") };
    assert_eq!((id.as_str(), command.join(" ").as_str(), process.interactive), ("a1", "sh -c -i", true));
    assert_eq!(parsed("ls -a --format json"), Command::List { all: true, format: Format::Json, quiet: false });
    assert_eq!(parsed("stop a1"), Command::Stop { grace_seconds: 5, signal: None, ids: vec!["a1".to_owned()] });
}

#[test]
fn names_and_labels_keep_their_rules() {
    for (name, valid) in [
        ("a1", true),
        ("kina-0.x_Y", true),
        ("a", false),
        ("-a", false),
        (".a", false),
        ("a b", false),
        ("a/b", false),
        ("", false),
    ] {
        assert_eq!(name_is_valid(name), valid, "{name}");
    }
    assert!(name_is_valid(&"a".repeat(63)) && !name_is_valid(&"a".repeat(64)));
    let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
    assert_eq!(label("a=b"), pair("a", "b"));
    assert_eq!(label("a="), pair("a", ""));
    assert_eq!(label("a=b="), pair("a", "b"), "a single trailing = is silently dropped");
    for bad in ["a", "=b", "a=b=c", "a=YQ=="] {
        let failure = label(bad).expect_err(bad);
        assert!(failure.text().is_some_and(|text| text.contains("invalid label format")), "{bad}");
    }
}
