//! PostgreSQL, which several verifiers share: how it is reached, and what they agree on by its advisory locks.
//!
//! The tables are in a schema of their own, `strongroom`, so that nothing that others put into the database has a name that is
//! looked up here.

use super::super::failed;
use super::super::tables::TABLES;
use super::Hold;
use sqlx::AnyConnection;
use sqlx::any::AnyConnectOptions;
use std::net::Ipv4Addr;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

/// Of every connection. A verifier that hangs gives the lock back to the others when its transaction is idle for too long; nobody
/// waits for one longer than that.
pub(super) const SETTINGS: &str = "SET search_path TO strongroom, pg_temp;
    SET synchronous_commit TO on;
    SET default_transaction_isolation TO 'read committed';
    SET row_security TO off;
    SET client_min_messages TO error;
    SET statement_timeout TO '10s';
    SET lock_timeout TO '10s';
    SET idle_in_transaction_session_timeout TO '10s'";

/// The advisory lock of who writes: held by a transaction, or by who makes the store. Numbers of this program alone; the locks of
/// other databases of the server are others.
const WRITING: i64 = 0x5354_524f_4e47_0001;
/// The advisory lock that every verifier shares which has the store open.
const OPEN: i64 = 0x5354_524f_4e47_0002;

/// PostgreSQL's manual, appendix A.
const LOCK_NOT_AVAILABLE: &str = "55P03";

const URL: &str = "postgres://USER@HOST[:PORT]/DATABASE, or postgres:///DATABASE?host=/FOLDER/OF/SOCKET&user=USER";

/// How the database of `url` is reached. The URL says who, where and which: how far the server is believed is not its matter. Over a
/// network that is TLS under `ca`, a PEM file; the host of its certificate is verified.
///
/// # Errors
/// `configuration-invalid`: no such URL, or one over a network without a `ca`.
pub(super) fn options(url: &str, ca: Option<&Path>) -> Result<AnyConnectOptions> {
    let invalid = |got: &str| Refusal::new(Code::ConfigurationInvalid, "`database`").got(got).want(URL);
    let mut options: AnyConnectOptions = url.parse().map_err(|_| invalid("no URL"))?;
    let url = &mut options.database_url;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(invalid(url.scheme()));
    }
    let (mut socket, mut user, mut port) = (None, !url.username().is_empty(), url.port().is_some());
    for (name, value) in url.query_pairs() {
        match &*name {
            "host" if value.starts_with('/') => socket = Some(value.into_owned()),
            "user" => user = !value.is_empty(),
            "port" => port = true,
            other => return Err(invalid(&format!("`{other}`"))),
        }
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let local = match &socket {
        Some(_) if host.is_empty() => true,
        None if !host.is_empty() && !host.contains('%') => is_loopback(&host),
        _ => return Err(invalid("no host")),
    };
    if !user || url.path().len() < 2 {
        return Err(invalid("no user or no database"));
    }
    let ca = match ca {
        Some(path) => Some(path.to_str().ok_or_else(|| invalid("a `database-ca` that is not text"))?),
        None if local => None,
        None => {
            let refusal = Refusal::new(Code::ConfigurationInvalid, "`database` over a network").got("no `database-ca`");
            return Err(refusal.want("the authority of the server's TLS certificate"));
        }
    };
    // Everything is said here: what is not, the driver takes from the environment.
    let mut pairs = url.query_pairs_mut();
    if !port {
        pairs.append_pair("port", "5432");
    }
    match ca {
        Some(ca) => pairs.append_pair("sslmode", "verify-full").append_pair("sslrootcert", ca),
        None => pairs.append_pair("sslmode", "disable"),
    };
    drop(pairs);
    Ok(options)
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "[::1]") || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// That it keeps what was committed, and text as it is.
pub(super) async fn verify_server(connection: &mut AnyConnection) -> Result<()> {
    for (setting, want) in [("fsync", "on"), ("server_encoding", "UTF8")] {
        let select = sqlx::query_scalar("SELECT current_setting($1)").bind(setting);
        let got: String = select.fetch_one(&mut *connection).await.map_err(failed("opening"))?;
        if got != want {
            let refusal = Refusal::new(Code::ConfigurationInvalid, format!("`{setting}` of the database"));
            return Err(refusal.got(got).want(want));
        }
    }
    Ok(())
}

/// Held by the connection as long as it lasts. One that just ended may be held by it still.
pub(super) async fn take_hold(connection: &mut AnyConnection, hold: Hold) -> Result<()> {
    let error = failed("opening");
    let (lock, got) = match hold {
        Hold::Shared => ("SELECT pg_advisory_lock_shared($1)", "a database that is put under another master key"),
        Hold::Alone => ("SELECT pg_advisory_lock($1)", "a database that a verifier has open"),
    };
    sqlx::query("SET lock_timeout TO '2s'").execute(&mut *connection).await.map_err(&error)?;
    match sqlx::query(lock).bind(OPEN).execute(&mut *connection).await {
        Err(sqlx::Error::Database(late)) if late.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            return Err(Refusal::new(Code::ConfigurationInvalid, "store").got(got));
        }
        held => held.map_err(&error)?,
    };
    sqlx::query("SET lock_timeout TO '10s'").execute(connection).await.map(drop).map_err(error)
}

/// Waits until nobody else writes or makes the store, and makes its schema where it is absent.
pub(super) async fn making(connection: &mut AnyConnection) -> Result<()> {
    let error = failed("opening");
    sqlx::query("SELECT pg_advisory_lock($1)").bind(WRITING).execute(&mut *connection).await.map_err(&error)?;
    let absent = "SELECT to_regnamespace('strongroom') IS NULL";
    if sqlx::query_scalar(absent).fetch_one(&mut *connection).await.map_err(&error)? {
        sqlx::query("CREATE SCHEMA strongroom").execute(&mut *connection).await.map_err(&error)?;
    }
    Ok(())
}

/// Ends [`making`].
pub(super) async fn made(connection: &mut AnyConnection) -> Result<()> {
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(WRITING).execute(connection).await;
    unlock.map(drop).map_err(failed("opening"))
}

/// In one round trip. The tables are locked against whoever would change them or their triggers meanwhile.
pub(super) fn begin_writing() -> String {
    let authenticated = TABLES.iter().map(|table| table.name);
    let tables = authenticated.chain(["meta", "leaves", "tiles", "nonces", "sessions"]).collect::<Vec<_>>().join(", ");
    format!("BEGIN; SELECT pg_advisory_xact_lock({WRITING}); LOCK TABLE {tables} IN ROW EXCLUSIVE MODE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(url: &str, ca: Option<&str>) -> Option<Code> {
        options(url, ca.map(Path::new)).err().map(|refusal| refusal.code)
    }

    #[test]
    fn server_on_this_machine_is_spoken_to_in_plain_and_any_other_only_over_tls() {
        let invalid = Some(Code::ConfigurationInvalid);
        for (url, ca, want) in [
            ("postgres://u@127.0.0.1/d", None, None),
            ("postgres://u@127.0.0.1/d", Some("/ca.pem"), None),
            ("postgres://u@localhost:6000/d", None, None),
            ("postgresql://u:p@[::1]/d", None, None),
            ("postgres:///d?host=/run/postgresql&user=u", None, None),
            ("postgres://u@db.example/d", None, invalid),
            ("postgres://u@db.example/d", Some("/ca.pem"), None),
            ("postgres://u@128.0.0.1/d", None, invalid),
            ("postgres://u@localhost.example/d", None, invalid),
        ] {
            assert_eq!(code(url, ca), want, "{url} {ca:?}");
        }
        let said = |url, ca| options(url, ca).unwrap().database_url.query().unwrap().to_owned();
        assert_eq!(said("postgres://u@localhost/d", None), "port=5432&sslmode=disable");
        let tls = said("postgres://u@localhost:6000/d", Some(Path::new("/a b.pem")));
        assert_eq!(tls, "sslmode=verify-full&sslrootcert=%2Fa+b.pem");
    }

    #[test]
    fn url_that_says_no_user_host_or_database_or_how_far_the_server_is_believed_refused() {
        assert_eq!(code("postgres://u@localhost/d", None), None);
        for url in [
            "postgres://localhost/d",
            "postgres://u@localhost",
            "postgres://u@localhost/",
            "postgres:///d?user=u",
            "postgres:///d?host=db.example&user=u",
            "postgres://u@%2Frun/d",
            "postgres://u@localhost/d?host=/run",
            "postgres://u@localhost/d?sslmode=disable",
            "postgres://u@db.example/d?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres://u@localhost/d?options=-c%20fsync%3Doff",
            "mysql://u@localhost/d",
            "sqlite:///d",
            "d",
        ] {
            assert_eq!(code(url, None), Some(Code::ConfigurationInvalid), "{url}");
        }
    }
}
