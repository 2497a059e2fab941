//! Making the API server look for free addresses and ports.

use serde_json::json;

use super::RewindError;
use crate::api_client::ApiClient;

/// The NodePorts that are taken.
pub(super) const NODE_PORTS: &[u8] = b"/registry/ranges/servicenodeports";

/// Makes the API server allocate a NodePort and free it again, by asking for a Service that exists already: it
/// allocates first and then finds the name taken.
pub(super) async fn look_at_storage(api: &ApiClient) -> Result<(), RewindError> {
    const PATH: &str = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "kubernetes"}, "spec": {"type": "NodePort", "ports": [{"port": 443}]}});
    let answer = api.post(PATH, &service).await?;
    match answer.status {
        http::StatusCode::CONFLICT => Ok(()),
        status => Err(RewindError::Unexpected {
            asked: format!("a second Service `kubernetes` at {PATH}"),
            answered: format!("HTTP status {status}"),
        }),
    }
}
