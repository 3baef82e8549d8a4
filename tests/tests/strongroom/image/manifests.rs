//! The manifests for Kubernetes against its schemas.

use crate::peers;
use crate::system::process::run;
use crate::system::root;
use std::fs;

#[test]
fn manifests_are_what_kubernetes_takes_and_one_with_an_unknown_member_is_not() {
    let folder = root().join("images/kubernetes");
    let [verifier, enclave] = ["verifier.yaml", "enclave.yaml"].map(|name| folder.join(name));
    let Some(mut check) = peers::script("check_kubernetes.py") else { return };
    let said = run(check.arg(&verifier).arg(&enclave)).ok().stdout;
    for resource in
        ["Deployment strongroom-verifier", "PodDisruptionBudget strongroom-verifier", "NetworkPolicy nothing"]
    {
        assert!(said.lines().any(|line| line == resource), "{said}");
    }
    let scratch = tempfile::tempdir().unwrap();
    let other = scratch.path().join("other.yaml");
    fs::write(&other, fs::read_to_string(&verifier).unwrap().replacen("replicas: 3", "replica: 3", 1)).unwrap();
    assert_eq!(run(peers::script("check_kubernetes.py").unwrap().arg(&other)).code, 1);
}
