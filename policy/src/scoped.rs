//! Policies by the place that their scope names, so that a decision passes over those about other places.
//!
//! A policy whose scope says `resource == X` or `resource in X` applies to nothing but X and what is in it, and Cedar looks at
//! nothing else of it where that does not hold: to leave it out there changes no decision.

use crate::question::Places;
use crate::together::{Part, parts};
use cedar_policy::{EntityUid, Policy, PolicySet, ResourceConstraint};
use std::collections::HashMap;
use strongroom_wire::Result;

/// The same policies, each in one place.
#[derive(Clone, Default)]
pub(crate) struct Scoped {
    /// Those that may apply to any resource.
    anywhere: Vec<Part>,
    /// Those about one resource or folder.
    places: HashMap<EntityUid, Vec<Part>>,
}

impl Scoped {
    pub(crate) fn of(all: &PolicySet) -> Result<Self> {
        let mut at = HashMap::<Option<EntityUid>, Vec<&Policy>>::new();
        for policy in all.policies() {
            at.entry(place(policy)).or_default().push(policy);
        }
        let mut scoped = Self::default();
        for (place, policies) in at {
            let parts = parts(&policies)?;
            match place {
                Some(place) => drop(scoped.places.insert(place, parts)),
                None => scoped.anywhere = parts,
            }
        }
        Ok(scoped)
    }

    /// All that may apply to what is asked for, in parts that share none.
    pub(crate) fn about(&self, asked: &Places) -> impl Iterator<Item = &Part> {
        asked.0.iter().filter_map(|place| self.places.get(place)).chain([&self.anywhere]).flatten()
    }
}

fn place(policy: &Policy) -> Option<EntityUid> {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::Eq(place) | ResourceConstraint::In(place) | ResourceConstraint::IsIn(_, place) => {
            Some(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::tests::{policies, question};
    use crate::policies::schema;
    use crate::question::Asked;
    use crate::{Action, Question, Tdx, Workload};
    use cedar_policy::{Authorizer, Decision};

    /// Scopes of every form, of what is asked for, what is above it, beside it and nowhere.
    const SCOPES: [&str; 14] = [
        "principal, action, resource",
        "principal, action, resource is Strongroom::Key",
        "principal, action, resource is Strongroom::Route",
        r#"principal, action, resource == Strongroom::Key::"models/embed/v1""#,
        r#"principal, action, resource == Strongroom::Key::"models/embed/v2""#,
        r#"principal, action, resource in Strongroom::Folder::"models""#,
        r#"principal, action, resource in Strongroom::Folder::"models/embed""#,
        r#"principal, action, resource in Strongroom::Folder::"other""#,
        r#"principal, action, resource is Strongroom::Key in Strongroom::Folder::"models""#,
        r#"principal, action, resource is Strongroom::Route in Strongroom::Folder::"models""#,
        r#"principal, action == Strongroom::Action::"Route", resource == Strongroom::Route::"models/embed""#,
        r#"principal, action in [Strongroom::Action::"ReleaseKey", Strongroom::Action::"Route"], resource"#,
        r#"principal == Strongroom::Workload::"thumbprint", action, resource"#,
        r#"principal, action == Strongroom::Action::"IssueIdentity", resource in Strongroom::Folder::"spiffe://example.org""#,
    ];

    fn questions() -> Vec<Question> {
        let of = |action: Action| Question { action, ..question() };
        let tdx = Tdx {
            fmspc: "00".into(),
            debug: false,
            status: "UpToDate".into(),
            advisories: ["INTEL-SA-1".into()].into(),
        };
        let td = Workload { snp: None, zone: Some("eu".into()), tdx: Some(tdx), ..question().workload };
        vec![
            question(),
            Question { workload: td, ..question() },
            of(Action::Route { name: "models/embed".into() }),
            of(Action::Route { name: "embed".into() }),
            of(Action::IssueIdentity { id: "spiffe://example.org/models/embed".into() }),
        ]
    }

    #[test]
    fn decision_by_places_is_that_of_the_whole_set_validated_against_the_schema() {
        let schema = schema().unwrap();
        let (mut permitted, mut forbidden) = (0, 0);
        for (first, second) in (0..SCOPES.len()).flat_map(|a| (0..SCOPES.len()).map(move |b| (a, b))) {
            let text = format!(r#"@id("p") permit ({}); @id("f") forbid ({});"#, SCOPES[first], SCOPES[second]);
            let policies = policies(&text);
            for question in questions() {
                let Asked { request, entities, .. } = question.asked(Some(&schema)).unwrap();
                let whole = Authorizer::new().is_authorized(&request, &policies.set, &entities);
                let mut by: Vec<_> = whole.diagnostics().reason().map(ToString::to_string).collect();
                by.sort();
                let decision = policies.ask(&question).unwrap();
                assert_eq!(decision.by, by, "{text} {question:?}");
                let allowed = whole.decision() == Decision::Allow;
                assert_eq!(decision.allowed().is_ok(), allowed, "{text} {question:?}");
                permitted += usize::from(allowed);
                forbidden += usize::from(by == ["f"]);
            }
        }
        assert!(permitted > 100 && forbidden > 100, "{permitted} {forbidden}");
    }
}
