//! Evidence and endorsements and policy and now: a verdict
