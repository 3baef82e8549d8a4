//! Everything that goes into one TDX authentication; each test changes one field.

use super::pair::Outcome;
use serde_json::Value;
use std::ops::Range;
use std::sync::LazyLock;
use strongroom_appraisal::tdx::{self, AuthenticQuote};
use strongroom_appraisal::{Endorsements, Roots};
use strongroom_devkit::intel::{CollateralSpec, Hierarchy, Pck, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_wire::Code;

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(|| Hierarchy::generate().unwrap());
pub(crate) static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::test(HIERARCHY.root.certificate()).unwrap());

/// A change of a JSON document.
pub(crate) type Edit = Box<dyn Fn(&mut Value)>;

pub(crate) struct Case {
    pub(crate) pck: Option<Pck>,
    pub(crate) quote: QuoteSpec,
    pub(crate) collateral: CollateralSpec,
    /// Done to the collateral's JSON after it was signed.
    pub(crate) edit: Option<Edit>,
    /// A byte of the quote whose lowest bit is flipped.
    pub(crate) flip: Option<usize>,
    pub(crate) roots: Option<Roots>,
}

impl Case {
    pub(crate) fn sound() -> Self {
        let (quote, collateral) = (QuoteSpec::default(), CollateralSpec::default());
        Self { pck: None, quote, collateral, edit: None, flip: None, roots: None }
    }

    pub(crate) fn of(spec: PckSpec) -> Self {
        Self { pck: Some(HIERARCHY.issue(spec).unwrap()), ..Self::sound() }
    }

    pub(crate) fn run(self) -> Result<AuthenticQuote, Code> {
        self.run_again()
    }

    /// The check that authentication ended at.
    pub(crate) fn outcome(&self) -> Outcome {
        self.traced().err()
    }

    pub(crate) fn run_again(&self) -> Result<AuthenticQuote, Code> {
        self.traced().map_err(|(_, code)| code)
    }

    fn traced(&self) -> Result<AuthenticQuote, (String, Code)> {
        static SOUND: LazyLock<Pck> = LazyLock::new(|| HIERARCHY.issue(PckSpec::default()).unwrap());
        let mut collateral = HIERARCHY.collateral(&self.collateral).unwrap();
        if let Some(edit) = &self.edit {
            let mut document: Value = serde_json::from_slice(&collateral).unwrap();
            edit(&mut document);
            collateral = document.to_string().into_bytes();
        }
        let mut endorsements = Endorsements::new();
        endorsements.add(&collateral).unwrap();
        let mut evidence = self.quote.sign(self.pck.as_ref().unwrap_or(&SOUND)).unwrap();
        if let Some(at) = self.flip {
            evidence[at] ^= 1;
        }
        let roots = self.roots.as_ref().unwrap_or(&ROOTS);
        let mut trace = Vec::new();
        tdx::authenticate_traced(&evidence, &endorsements, roots, NOW, &mut trace).map_err(|refusal| {
            let (last, others) = trace.split_last().unwrap();
            assert!(others.iter().all(|check| check.ok) && last.code == Some(refusal.code));
            (last.name.clone(), refusal.code)
        })
    }
}

/// From so many seconds after [`NOW`] to so many.
pub(crate) fn from_now(begins: i64, ends: i64) -> Range<u64> {
    NOW.checked_add_signed(begins).unwrap()..NOW.checked_add_signed(ends).unwrap()
}

pub(crate) fn refused(case: Case) -> Code {
    case.run().map(|authentic| authentic.tcb_status()).expect_err("accepted")
}

pub(crate) fn with_quote(quote: QuoteSpec) -> Case {
    Case { quote, ..Case::sound() }
}

/// A sound case with one member of the TCB info, named as a JSON pointer, changed.
pub(crate) fn with_info(pointer: &str, value: Value) -> Case {
    let mut case = Case::sound();
    *case.collateral.tcb_info.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    case
}

pub(crate) fn with_identity(pointer: &str, value: Value) -> Case {
    let mut case = Case::sound();
    *case.collateral.qe_identity.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    case
}
