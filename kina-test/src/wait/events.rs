use std::time::Duration;

use kina_engine::RawClient;
use serde_json::Value;

use crate::api_request::ApiRequest;

/// Limit of the events shown; the newest are taken.
const SHOWN_MAX: usize = 10;
/// Limit of the events read. Repetitions by a controller are one event with a count.
const READ_MAX: u32 = 200;
/// The deadline has passed already, so this must not take long.
const TIMEOUT: Duration = Duration::from_secs(2);
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// The newest events about the object, one per line, oldest first.
pub(super) async fn of(client: &RawClient, object: &Value) -> Result<Vec<String>, String> {
    let metadata = &object["metadata"];
    let Some(uid) = metadata["uid"].as_str() else { return Ok(Vec::new()) };
    // Events about cluster-wide objects are in a namespace that their author chose.
    let list = match metadata["namespace"].as_str() {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/events"),
        None => "/api/v1/events".to_owned(),
    };
    // A UID needs no escapes.
    let path = format!("{list}?limit={READ_MAX}&fieldSelector=involvedObject.uid%3D{uid}");
    match ApiRequest::get(&path).within(TIMEOUT).send(client).await {
        Ok(list) => Ok(newest(list["items"].as_array().map(Vec::as_slice).unwrap_or_default())),
        Err(error) => Err(kina_engine::with_causes(&error)),
    }
}

fn newest(events: &[Value]) -> Vec<String> {
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| time(event));
    let skipped = events.len().saturating_sub(SHOWN_MAX);
    let earlier = (0 < skipped).then(|| format!("({skipped} earlier)"));
    earlier.into_iter().chain(events[skipped..].iter().map(|event| line(event))).collect()
}

/// The time of the last occurrence. Texts of this format sort by time.
fn time(event: &Value) -> &str {
    let fields = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    let time = fields.into_iter().find_map(Value::as_str);
    time.or(event["metadata"]["creationTimestamp"].as_str()).unwrap_or_default()
}

fn line(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let message = text("message").trim().replace('\n', " ");
    let message = match message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    };
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    let times = if 1 < count { format!(" ({count} times)") } else { String::new() };
    format!("{} {}: {message}{times}", text("type"), text("reason"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_events_are_listed_in_order() {
        let event = |second: usize, count: i64| {
            json!({
                "type": "Warning", "reason": "Failed", "message": format!("at\n{second} "),
                "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"), "count": count,
            })
        };
        assert_eq!(newest(&[event(2, 1), event(1, 3)]), ["Warning Failed: at 1 (3 times)", "Warning Failed: at 2"]);
        let many: Vec<Value> = (0..25).map(|second| event(second, 1)).collect();
        let shown = newest(&many);
        assert_eq!((shown.len(), shown[0].as_str()), (SHOWN_MAX + 1, "(15 earlier)"));
        assert_eq!(shown[SHOWN_MAX], "Warning Failed: at 24");
        assert!(newest(&[]).is_empty());
    }

    #[test]
    fn long_messages_are_truncated() {
        let shown = line(&json!({"type": "Normal", "reason": "Long", "message": "ü".repeat(1000)}));
        assert_eq!(shown.chars().count(), "Normal Long: ".len() + MESSAGE_CHARACTERS_MAX + 1);
    }
}
