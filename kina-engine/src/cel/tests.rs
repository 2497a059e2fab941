//! Conditions as users write them, right and wrong.

use serde_json::{Value, json};

use super::*;

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 2, "labels": {"app": "web", "app.kubernetes.io/name": "web"}},
        "spec": {
            "replicas": 3,
            "paused": null,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [
                    {"name": "web", "image": "registry.local/web:1.2", "ports": [{"containerPort": 80, "targetPort": "http"}]},
                    {"name": "log", "image": "registry.local/log:2.0"},
                ]},
            },
        },
        "status": {
            "observedGeneration": 2,
            "readyReplicas": 1,
            "share": 0.5,
            "conditions": [
                {"type": "Progressing", "status": "True"},
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"},
            ],
        },
    })
}

fn evaluate(text: &str) -> Result<bool, EvaluationError> {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{error}"));
    expression.bind(&deployment()).evaluate()
}

fn explained(text: &str) -> Vec<String> {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{error}"));
    expression.explain(&deployment()).iter().map(ToString::to_string).collect()
}

#[test]
fn conditions_are_met_or_not() {
    for (text, expected) in [
        ("status.readyReplicas == spec.replicas", false),
        ("status.readyReplicas < spec.replicas", true),
        ("status.readyReplicas + 2 == spec.replicas", true),
        ("object.status.readyReplicas == self.status.readyReplicas", true),
        ("status.observedGeneration >= metadata.generation", true),
        ("status.share == 0.5 && status.share < 1", true),
        ("kind == 'Deployment' && apiVersion.startsWith('apps/')", true),
        ("status.conditions.exists(c, c.type == 'Available' && c.status == 'True')", false),
        ("status.conditions.exists(c, c.type == 'Progressing' && c.status == 'True')", true),
        ("status.conditions.all(status, status.type.size() > 3)", true),
        ("status.conditions.exists_one(c, c.status == 'False')", true),
        ("spec.template.spec.containers.all(c, c.image.matches('^registry\\\\.local/[a-z]+:'))", true),
        ("spec.template.spec.containers.map(c, c.name) == ['web', 'log']", true),
        ("spec.template.spec.containers.filter(c, has(c.ports)).size() == 1", true),
        ("spec.selector.matchLabels == spec.template.metadata.labels", true),
        ("{'app': 'web'} == spec.selector.matchLabels", true),
        ("'app' in metadata.labels && metadata.labels['app.kubernetes.io/name'] == 'web'", true),
        ("metadata.labels.`app.kubernetes.io/name` == 'web'", true),
        ("spec.selector.matchLabels.all(key, metadata.labels[key] == spec.selector.matchLabels[key])", true),
        ("type(spec.replicas) == int", true),
        ("size(status.conditions) == 2 ? true : false", true),
        ("metadata.name.lowerAscii().contains('we')", true),
        ("status.?unavailableReplicas.orValue(0) == 0", true),
        ("metadata.name.matches('^w' + 'eb$')", true),
        // A field of Kubernetes may be either type; values of different types just differ.
        ("spec.template.spec.containers[0].ports[0].targetPort == 80", false),
        ("spec.template.spec.containers[0].ports[0].targetPort != 80", true),
    ] {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_condition_on_a_missing_field_is_not_met() {
    for text in [
        "status.unavailableReplicas == 0",
        "status.unavailableReplicas != 0",
        "!status.paused",
        "spec.paused == false",
        "data.key == 'value'",
        "object.anything.at.all == 1",
        "status.conditions[7].type == 'Ready'",
        "status.conditions.all(c, c.reason != '')",
        "metadata.labels['tier'] == 'front'",
        "spec.paused.deeper == 1",
        "status.a.b.c.exists(x, x)",
    ] {
        assert_eq!(evaluate(text), Ok(false), "{text}");
    }
    for (text, expected) in [
        ("has(status.readyReplicas)", true),
        ("has(status.a.b.c)", false),
        ("!has(status.a.b.c)", true),
        ("!has(data.key)", true),
        ("has(status) && !has(data)", true),
        ("has(spec.paused)", false),
        ("!has(metadata.deletionTimestamp)", true),
        ("status.unavailableReplicas == 0 || spec.replicas == 3", true),
        ("has(object.spec) && !has(object.other)", true),
    ] {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
}

#[test]
fn values_that_are_not_objects_have_no_fields() {
    for object in [json!(null), json!([]), json!("text"), json!({}), json!({"status": null})] {
        let expression = Expression::compile("status.phase == 'Running'").expect("a condition");
        assert!(!expression.bind(&object).evaluate().unwrap_or(false), "{object}");
    }
}

#[test]
fn mistakes_are_found_without_an_object() {
    for (text, expected) in [
        ("status.readyReplicas", None),
        (
            "'text'",
            Some(
                "the condition cannot be understood: it is a string, which is neither true nor false\n  'text'\ncompare it \
                 with something, like `status.readyReplicas == spec.replicas`",
            ),
        ),
        (
            "spec.replicas + 1",
            Some(
                "the condition cannot be understood: it is a number, which is neither true nor false\n  spec.replicas + 1\n\
                 compare it with something, like `status.readyReplicas == spec.replicas`",
            ),
        ),
        (
            "stauts.readyReplicas == 1",
            Some(
                "the condition cannot be understood: there is no `stauts`\n  stauts.readyReplicas == 1\n  ^\ndid you mean \
                 `status`?",
            ),
        ),
        (
            "spec.replicas == 1 && wheels == 4",
            Some(
                "the condition cannot be understood: there is no `wheels`\n  spec.replicas == 1 && wheels == 4\n             \
                 \u{20}          ^\na condition begins with a field of the object, like `status` or `spec`; for a \
                 field that only your kind has, write `object.wheels`",
            ),
        ),
    ] {
        let outcome = Expression::compile(text).map(drop).map_err(|error| error.to_string());
        assert_eq!(outcome.err().as_deref(), expected, "{text}");
    }
}

#[test]
fn every_mistake_has_its_own_message() {
    for (text, expected) in [
        ("", "the condition cannot be understood"),
        ("status.readyReplicas = 3", "`=` is not an operator: compare with `==`"),
        ("status.ready & spec.ready", "write `&&`"),
        ("status.ready and spec.ready", "write `&&` for and"),
        ("status.phase == null", "write `!has(…)` or `has(…)`"),
        ("has(metadata.labels['a'])", "for a key of a map write `'key' in map`"),
        ("size(status.conditions) == 'two'", "a number and a string are never equal"),
        ("spec.replicas && true == 'x'", "a condition and a string are never equal"),
        ("spec.replicas == 1 && 'yes'", "`&&` needs conditions, but this is a string"),
        ("!size(spec.a)", "`!` needs conditions, but this is a number"),
        ("1 < 'a'", "a number and a string have no order"),
        ("[1] < [2]", "a list and a list have no order"),
        ("status.conditions.exists(c, 'x')", "`||` needs conditions, but this is a string"),
        ("'text'.exists(c, c)", "a string has no elements"),
        ("'a' in 3", "`in` needs a list or map, but this is a number"),
        ("size(spec.a).startsWith('a')", "`startsWith` needs a string, but this is a number"),
        ("metadata.name.matches('a(')", "`a(` is not a regular expression: unclosed group"),
        ("timestamp(metadata.creationTimestamp) < now()", "conditions have no notion of time"),
        ("status.conditions.exist(c, c)", "there is no function `exist`"),
        ("fraction(status.a) == 1", "there is no function `fraction`"),
        ("status.conditions.all(c)", "`all` is not used like this"),
        ("Widget{size: 1} == spec", "write a map"),
        ("-'a' == 1", "`-` needs a number, but this is a string"),
        ("'a' + 1 == 2", "a string and a number do not go together with `+`"),
        ("size('a').b == 1", "a number has no field `b`"),
    ] {
        let error = Expression::compile(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let long = format!("metadata.name == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    let error = Expression::compile(&long).expect_err("too long").to_string();
    assert!(error.contains("the limit of 10000") && error.len() < 200, "{error}");
}

#[test]
fn values_that_do_not_go_together_are_errors_that_name_the_part() {
    for (text, part, problem) in [
        ("kind == 'Deployment' && status == 1", "status == 1", "a map and a number are never equal"),
        ("status.conditions == 'x' || kind == 'a'", "status.conditions == 'x'", "a list and a string are never equal"),
        ("status.readyReplicas < 'x'", "status.readyReplicas < 'x'", "a number and a string have no order"),
        ("spec.replicas.count == 1", "spec.replicas.count == 1", "a number has no fields"),
        ("spec.replicas", "spec.replicas", "it is the number 3"),
        ("spec.replicas && kind == 'Deployment'", "spec.replicas", "it is the number 3"),
        (
            "spec.replicas.exists(c, c == 1)",
            "spec.replicas.exists(c, c == 1)",
            "a number is used where a list or map is needed",
        ),
        (
            "spec.replicas.startsWith('a')",
            "spec.replicas.startsWith('a')",
            "`startsWith` does not take a number and a string",
        ),
        ("spec.replicas.matches('a')", "spec.replicas.matches('a')", "`matches` does not take a number and a pattern"),
        ("spec.replicas / 0 == 1", "spec.replicas / 0 == 1", "a division by zero"),
        ("metadata.name.matches('a' + '(')", "metadata.name.matches('a' + '(')", "`matches`"),
    ] {
        let error = evaluate(text).expect_err(text);
        assert_eq!(error.part(), Some(part), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.to_string().starts_with(&format!("the condition `{text}` does not fit the object: ")), "{error}");
    }
}

#[test]
fn false_parts_are_shown_with_their_values() {
    for (text, expected) in [
        ("status.readyReplicas == spec.replicas", vec!["`status.readyReplicas == spec.replicas` was false: 1 == 3"]),
        (
            "kind == 'Deployment' && (status.readyReplicas == 3 && metadata.name == 'api')",
            vec![
                "`status.readyReplicas == 3` was false: 1 == 3",
                "`metadata.name == 'api'` was false: \"web\" == \"api\"",
            ],
        ),
        ("kind == 'Pod' || spec.replicas == 3", vec![]),
        (
            "kind == 'Pod' || spec.replicas == 4",
            vec!["`kind == 'Pod'` was false: \"Deployment\" == \"Pod\"", "`spec.replicas == 4` was false: 3 == 4"],
        ),
        (
            "status.updatedReplicas == spec.replicas",
            vec![
                "`status.updatedReplicas == spec.replicas` was false: status.updatedReplicas is missing, spec.replicas is 3",
            ],
        ),
        (
            "status.updatedReplicas == 3",
            vec!["`status.updatedReplicas == 3` was false: status.updatedReplicas is missing"],
        ),
        ("status.ready", vec!["`status.ready` was false: it, or a field that it depends on, is missing"]),
        ("has(status.ready)", vec!["`has(status.ready)` was false"]),
        (
            "spec.replicas == '3'",
            vec!["`spec.replicas == '3'` was false: 3 == \"3\" (a number and a string are never equal)"],
        ),
        (
            "metadata.name.startsWith('api')",
            vec!["`metadata.name.startsWith('api')` was false: metadata.name is \"web\""],
        ),
        (
            "spec.template.spec.containers.map(c, c.name).exists(n, n == 'db')",
            vec![
                "`spec.template.spec.containers.map(c, c.name).exists(n, n == 'db')` was false: \
                 spec.template.spec.containers.map(c, c.name) is [\"web\",\"log\"]",
            ],
        ),
        ("status == 1", vec!["`status == 1` does not fit the object: a map and a number are never equal"]),
    ] {
        assert_eq!(explained(text), expected, "{text}");
    }
}

#[test]
fn values_in_messages_are_bounded() {
    let object = json!({"data": {"key": "ü".repeat(10_000)}});
    let parts = Expression::compile("data.key == ''").expect("a condition").explain(&object);
    assert!(parts[0].to_string().chars().count() < 300, "{}", parts[0]);
}

#[test]
fn only_the_fields_in_use_are_bound() {
    let fields = |text: &str| Expression::compile(text).expect("a condition").fields;
    let some = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    assert_eq!(fields("status.a == spec.b"), some(&["spec", "status"]));
    assert_eq!(fields("object.spec.a == object.other"), some(&["other", "spec"]));
    assert_eq!(fields("status.conditions.all(spec, spec.a)"), some(&["status"]));
    assert_eq!(fields("has(status.a)"), some(&["status"]));
    assert_eq!(fields("object == {}"), None);
    assert_eq!(fields("true"), some(&[]));
}

#[test]
fn an_expression_serves_many_objects_and_threads() {
    let expression = Expression::compile("data.number == 7").expect("a condition");
    std::thread::scope(|scope| {
        for number in [6, 7, 8] {
            let expression = &expression;
            scope.spawn(move || {
                let object = json!({"data": {"number": number}});
                assert_eq!(expression.bind(&object).evaluate(), Ok(number == 7));
            });
        }
    });
}
