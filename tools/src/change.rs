//! `strongroom change list|show|approve|reject`: what somebody else wants to change at a verifier, where that takes two people.

use crate::admin::{AdminClient, Service};
use crate::{block_on, output};
use clap::{Args, Subcommand};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::process::ExitCode;
use strongroom_transport::http as body;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the changes that wait for approval.
    #[command(after_help = "Example:\n  strongroom change list \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-cert me.pem --admin-key me.key")]
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Show what somebody asked for, and what it would put, but where that is a key.
    #[command(after_help = "Example:\n  strongroom change show $ID \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-cert me.pem --admin-key me.key")]
    Show(Which),
    /// Have a change made that another person asked for. It is judged as if it were asked for now.
    #[command(
        after_help = "The digest is what `strongroom change show` prints: with it, nothing is approved but what you looked at.\n\n\
        Example:\n  strongroom change approve $ID --digest $DIGEST \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-cert me.pem --admin-key me.key"
    )]
    Approve {
        #[command(flatten)]
        which: Which,
        /// The digest of the change as you saw it.
        #[arg(long, value_name = "HEX", value_parser = Sha256::from_hex)]
        digest: Sha256,
    },
    /// Have a change never made.
    #[command(after_help = "Example:\n  strongroom change reject $ID \\\n    \
        --verifier https://verifier.example:8444 --verifier-pin $PIN --admin-cert me.pem --admin-key me.key")]
    Reject(Which),
}

#[derive(Args)]
pub(crate) struct Which {
    /// The change, as `strongroom change list` names it.
    #[arg(value_parser = parse_id)]
    id: String,
    #[command(flatten)]
    service: Service,
}

/// A change that waits.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    id: String,
    method: String,
    path: String,
    digest: Sha256,
    asked_by: Person,
    created: u64,
    expires: u64,
    /// What it would put, in base64; absent: a secret, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Person {
    name: String,
    by: String,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::List { service } => {
            let client = service.client()?;
            let changes: Vec<Change> = block_on(client.get_json("changes"))?;
            if json { output::json(&changes)? } else { output::line(&table(&changes))? }
        }
        Command::Show(which) => {
            let client = which.service.client()?;
            let change: Change = block_on(client.get_json(&format!("changes/{}", which.id)))?;
            if json { output::json(&change)? } else { output::line(&shown(&change)?)? }
        }
        Command::Approve { which, digest } => {
            let client = which.service.client()?;
            let path = format!("changes/{}/approve?digest={digest}", which.id);
            let answer = block_on(client.send(Method::POST, &path, body::empty()))?;
            // What the call itself is answered with: JSON, or a text.
            match serde_json::from_slice::<Value>(&answer) {
                Ok(answer) if json => output::json(&answer)?,
                _ if json => output::json(&Value::String(String::from_utf8_lossy(&answer).into_owned()))?,
                _ => output::line(&format!("approved and made: {}\n", which.id))?,
            }
        }
        Command::Reject(which) => {
            let change = block_on(reject(&which.service.client()?, &which.id))?;
            if json { output::json(&change)? } else { output::line(&format!("rejected: {}\n", change.id))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn reject(client: &AdminClient, id: &str) -> Result<Change> {
    client.send_json(Method::POST, &format!("changes/{id}/reject"), body::empty()).await
}

/// An id has nothing that means something in a path.
fn parse_id(text: &str) -> Result<String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(Code::Usage, "id of a change").got(text).want("hex digits")),
    }
}

fn shown(change: &Change) -> Result<String> {
    let body = match &change.body {
        None => "not shown: a secret, or nothing".to_owned(),
        Some(body) => format!("\n{}", printable(&from_base64(body, "body of the change")?)),
    };
    Ok(format!("{}\nbody    {body}\n", table(core::slice::from_ref(change)).trim_end()))
}

/// Somebody else's text, which may not move a terminal's cursor.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn table(changes: &[Change]) -> String {
    let row = |change: &Change| {
        vec![
            change.id.clone(),
            format!("{} {}", change.method, change.path),
            format!("{} ({})", change.asked_by.name, change.asked_by.by),
            output::utc(change.expires),
            change.digest.to_string(),
        ]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    output::table(&["CHANGE", "CALL", "ASKED BY", "EXPIRES", "DIGEST"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wants_to_put_moves_no_cursor() {
        assert_eq!(printable(b"a\n\tb\x1b[2J\r"), "a\n\tb\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn id_that_means_something_in_a_path_refused() {
        assert_eq!(parse_id("c0ffee").unwrap(), "c0ffee");
        for wrong in ["", "../keys", "a?b", "a/approve"] {
            assert_eq!(parse_id(wrong).unwrap_err().code, Code::Usage, "{wrong}");
        }
    }
}
