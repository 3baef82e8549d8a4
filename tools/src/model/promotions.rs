//! Promotions as people and scripts see them.

use serde_json::{Value, json};
use strongroom_artifact::promotion::Promotion;

/// A promotion that holds, as JSON.
pub(super) fn describe(promotion: &Promotion) -> Value {
    let by = promotion.promoters().iter().map(|(name, by)| json!({ "name": name, "signed_by": by.to_string() }));
    json!({
        "environment": promotion.environment(),
        "sequence": promotion.sequence(),
        "expires": promotion.expires(),
        "policy": promotion.policy(),
        "promoters": by.collect::<Vec<_>>(),
    })
}
