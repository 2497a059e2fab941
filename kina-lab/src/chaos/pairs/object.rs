//! Objects that A makes and that B may find neither stored nor in a cache.

use anyhow::{Context, bail};
use serde_json::Value;

use super::kind::{Former, Planted, Side};

/// Makes it, and reads it back.
pub(super) async fn plant(side: &Side, collection: &str, manifest: &str) -> anyhow::Result<Planted> {
    let mut object: Value = serde_json::from_str(manifest).context("a manifest is not JSON")?;
    object["metadata"]["annotations"]["pairs.kina.test/mark"] = side.mark.clone().into();
    let name = name_of(manifest)?;
    side.api.create(collection, &object).await?;
    let found = side.api.read(&format!("{collection}/{name}")).await?;
    if found["metadata"]["annotations"]["pairs.kina.test/mark"] != side.mark {
        bail!("{collection}/{name} is another one");
    }
    Ok(Planted::default())
}

/// Looks for it in storage, in the cache by its name, and in a list as an informer gets it.
pub(super) async fn look(side: &Side, _: &Former, collection: &str, manifest: &str) -> anyhow::Result<Option<String>> {
    let name = name_of(manifest)?;
    for version in ["?resourceVersion=0", ""] {
        let answer = side.api.get(&format!("{collection}/{name}{version}")).await?;
        match answer.status {
            404 => {}
            200 => return Ok(Some(format!("{collection}/{name}{version}"))),
            status => bail!("{collection}/{name} was answered by {status}: {}", answer.text().trim()),
        }
    }
    let list = side.api.read(&format!("{collection}?resourceVersion=0")).await?;
    let is_there = list["items"].as_array().into_iter().flatten().any(|item| item["metadata"]["name"] == name);
    Ok(is_there.then(|| format!("{name} in a list of {collection}")))
}

fn name_of(manifest: &str) -> anyhow::Result<String> {
    let object: Value = serde_json::from_str(manifest).context("a manifest is not JSON")?;
    Ok(object["metadata"]["name"].as_str().context("a manifest has no name")?.to_owned())
}
