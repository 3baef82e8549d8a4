//! A cloud whose metadata service hands over the deployment document. Which one the measured command line says, and nothing is guessed.

use strongroom_wire::{Code, Refusal, Result};

/// The word of the command line: `strongroom.cloud=aws`, `=gcp` or `=azure`.
const WORD: &str = "strongroom.cloud=";

/// A cloud by its metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon EC2: user data.
    Aws,
    /// Google Compute Engine: the attribute `strongroom-deployment` of the instance.
    Google,
    /// Azure: user data.
    Azure,
}

impl Cloud {
    /// The one that the command line names, if it names one.
    ///
    /// # Errors
    /// `usage`: it names another, or more than one.
    pub fn of_command_line(command_line: &str) -> Result<Option<Self>> {
        let mut named = command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(WORD));
        let Some(name) = named.next() else { return Ok(None) };
        let wrong = |got: &str| {
            let refusal = Refusal::new(Code::Usage, "`strongroom.cloud` of the command line");
            refusal.got(got).want("aws, gcp or azure, once")
        };
        if named.next().is_some() {
            return Err(wrong("more than one"));
        }
        Self::parse(name).map(Some).ok_or_else(|| wrong(name))
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Google => "gcp",
            Self::Azure => "azure",
        }
    }

    /// The modules that its network card takes, in the order in which they need one another. No other guest loads them: a host can plug in
    /// what it likes.
    pub const fn drivers(self) -> &'static [&'static str] {
        match self {
            Self::Aws => &["ena"],
            Self::Google => &["gve"],
            Self::Azure => &["hv_vmbus", "hv_netvsc"],
        }
    }

    /// The cloud of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Aws, Self::Google, Self::Azure].into_iter().find(|cloud| cloud.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_that_the_command_line_names_taken_and_none_where_it_names_none() {
        let of = |line: &str| Cloud::of_command_line(line).map_err(|refusal| refusal.code);
        assert_eq!(of("quiet strongroom.cloud=aws panic=-1\n"), Ok(Some(Cloud::Aws)));
        assert_eq!(
            [of("strongroom.cloud=gcp"), of("strongroom.cloud=azure")],
            [Ok(Some(Cloud::Google)), Ok(Some(Cloud::Azure))]
        );
        assert_eq!(of("quiet strongroom.network=dhcp"), Ok(None));
    }

    #[test]
    fn cloud_of_another_name_and_two_of_them_refused() {
        for line in ["strongroom.cloud=", "strongroom.cloud=AWS", "strongroom.cloud=aws strongroom.cloud=gcp"] {
            assert_eq!(Cloud::of_command_line(line).unwrap_err().code, Code::Usage, "{line}");
        }
    }
}
