//! What Intel says of a TCB level (`tcbStatus` of the PCS specification), and how the statuses of a platform's parts come
//! to one.

use core::fmt;
use serde::Deserialize;

/// The status of a TCB, in Intel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TcbStatus {
    /// Nothing is missing.
    UpToDate,
    /// The software inside must mitigate something.
    SWHardeningNeeded,
    /// The platform must be configured otherwise.
    ConfigurationNeeded,
    /// Both of the former.
    ConfigurationAndSWHardeningNeeded,
    /// Updates are missing.
    OutOfDate,
    /// Updates are missing, and the platform must be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// All runs up to date now, but the TD was launched when the TDX module was not.
    TDRelaunchAdvised,
    /// The same, and the platform must be configured otherwise.
    TDRelaunchAdvisedConfigurationNeeded,
    /// The level's keys count as compromised.
    Revoked,
}

impl TcbStatus {
    /// As Intel writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::Revoked => "Revoked",
        }
    }

    /// The status of a platform with a part (TDX module or quoting enclave) of status `part`. Intel's documents give parts
    /// three statuses; one that is neither up to date nor revoked counts as out of date, whatever else it is called.
    #[must_use]
    pub(crate) const fn with_part(self, part: Self) -> Self {
        match (self, part) {
            (Self::Revoked, _) | (_, Self::Revoked) => Self::Revoked,
            (whole, Self::UpToDate) => whole,
            (
                Self::ConfigurationNeeded
                | Self::ConfigurationAndSWHardeningNeeded
                | Self::OutOfDateConfigurationNeeded,
                _,
            ) => Self::OutOfDateConfigurationNeeded,
            _ => Self::OutOfDate,
        }
    }

    /// The status of a TD that was launched on a TCB of this status and runs on one of status `now`, which differ after a
    /// TD-preserving update of the module.
    ///
    /// Launched out of date and sound now, a relaunch is advised. Where the TCB of now is the worse one, it counts; Intel's
    /// library would report the launch TCB alone.
    #[must_use]
    pub(crate) const fn running_on(self, now: Self) -> Self {
        match (self, now) {
            (Self::Revoked, _) | (_, Self::Revoked) => Self::Revoked,
            (Self::OutOfDate, now) if now.is_current() => {
                if now.needs_configuration() {
                    Self::TDRelaunchAdvisedConfigurationNeeded
                } else {
                    Self::TDRelaunchAdvised
                }
            }
            (Self::OutOfDateConfigurationNeeded, now) if now.is_current() => Self::TDRelaunchAdvisedConfigurationNeeded,
            (launched, now) if launched.is_current() && !now.is_current() => now,
            (launched, _) => launched,
        }
    }

    const fn is_current(self) -> bool {
        matches!(
            self,
            Self::UpToDate
                | Self::SWHardeningNeeded
                | Self::ConfigurationNeeded
                | Self::ConfigurationAndSWHardeningNeeded
        )
    }

    const fn needs_configuration(self) -> bool {
        matches!(self, Self::ConfigurationNeeded | Self::ConfigurationAndSWHardeningNeeded)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::TcbStatus::{self, *};

    const PLATFORM: [TcbStatus; 7] = [
        UpToDate,
        SWHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSWHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        Revoked,
    ];

    #[test]
    fn part_that_is_not_up_to_date_decides_and_one_that_is_does_not() {
        let with = |part| PLATFORM.map(|platform| platform.with_part(part));
        assert_eq!(with(UpToDate), PLATFORM);
        let outdated = OutOfDateConfigurationNeeded;
        for part in [OutOfDate, ConfigurationNeeded, SWHardeningNeeded, OutOfDateConfigurationNeeded] {
            assert_eq!(with(part), [OutOfDate, OutOfDate, outdated, outdated, OutOfDate, outdated, Revoked]);
        }
        assert_eq!(with(Revoked), [Revoked; 7]);
    }

    #[test]
    fn td_launched_out_of_date_and_sound_now_is_advised_to_relaunch() {
        let (relaunch, configure) = (TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded);
        for (launched, now, want) in [
            (OutOfDate, UpToDate, relaunch),
            (OutOfDate, SWHardeningNeeded, relaunch),
            (OutOfDate, ConfigurationNeeded, configure),
            (OutOfDate, ConfigurationAndSWHardeningNeeded, configure),
            (OutOfDateConfigurationNeeded, UpToDate, configure),
            (OutOfDate, OutOfDate, OutOfDate),
            (OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDate, Revoked, Revoked),
            (Revoked, UpToDate, Revoked),
            (UpToDate, UpToDate, UpToDate),
            (ConfigurationNeeded, UpToDate, ConfigurationNeeded),
            (UpToDate, OutOfDate, OutOfDate),
        ] {
            assert_eq!(launched.running_on(now), want, "{launched} running on {now}");
        }
    }

    #[test]
    fn words_are_those_that_a_policy_reads() {
        for status in PLATFORM.into_iter().chain([TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded]) {
            let read: TcbStatus = serde_json::from_str(&format!("\"{status}\"")).unwrap();
            assert_eq!(read, status);
        }
    }
}
