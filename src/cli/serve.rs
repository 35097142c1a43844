//! `bootstead serve`: reads the site, opens the journal, serves until it is told to stop.

use super::Globals;
use super::load::load;
use crate::problem::{Exit, Problems};
use crate::serve::clock::Clock;
use crate::serve::hub::World;
use crate::serve::rendering::Rendering;
use crate::serve::shared::Load;
use crate::serve::{Materials, Options, run as serve};
use crate::shelf::Shelf;
use crate::store::sqlite::Sqlite;
use crate::tls::Identity;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Serve on this address instead of the site's
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// Port for HTTP [default: the site's, else 80]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Port for the agents of installed nodes [default: the site's, else 8443]
    #[arg(long, value_name = "PORT")]
    agent_port: Option<u16>,
    /// Port for TFTP; firmware asks only on 69
    #[arg(long, value_name = "PORT")]
    tftp_port: Option<u16>,
    /// Port for installers' logs; they send to 514
    #[arg(long, value_name = "PORT")]
    syslog_port: Option<u16>,
    /// Serve no DHCP, whatever the site file says
    #[arg(long)]
    no_dhcp: bool,
    /// Keep a capture of each machine's DHCP and of its TFTP transfers' beginnings in this folder, FOLDER/MAC.pcap
    #[arg(long, value_name = "FOLDER")]
    pcap: Option<PathBuf>,
    /// Log more: -v every request, -vv everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub fn run(g: &Globals, args: ServeArgs) -> Result<Exit, Problems> {
    log(g, args.verbose);
    let globals = g.clone();
    let read: Load = Arc::new(move || {
        let loaded = load(&globals)?;
        // For `diff`: what is in use from here on. Serving does not depend on it.
        if let Err(problem) = crate::disk::keep_site(&globals.state_dir(), &loaded.files) {
            tracing::warn!("{problem}");
        }
        let (shelf, stock, problems) = Shelf::open(&globals.images_dir());
        // A damaged image is left out and named; the others are served.
        for problem in loaded.warnings.0.iter().chain(&problems) {
            tracing::warn!("{problem}");
        }
        Ok((World { site: loaded.site, catalog: Arc::new(loaded.catalog), stock }, shelf))
    });
    // The lock of the state folder comes first: a second server shall not even make a key.
    let store = Box::new(Sqlite::open(&g.state_dir())?);
    let key = crate::secrets::load_or_make(&g.state_dir())?;
    let identity = Identity::load_or_make(&g.state_dir().join("tls.json"), "bootstead")?;
    let options = Options {
        state: g.state_dir(),
        listen: args.listen,
        http_port: args.http_port,
        agent_port: args.agent_port,
        tftp_port: args.tftp_port,
        syslog_port: args.syslog_port,
        no_dhcp: args.no_dhcp,
        pcap: args.pcap,
    };
    let materials =
        Materials { load: read, store, key, identity, renders: Arc::new(Rendering), clock: Clock::system() };
    serve(&options, materials)?;
    Ok(Exit::Ok)
}

/// The log goes to standard error; `RUST_LOG` overrules, for whoever looks into one module.
fn log(g: &Globals, verbose: u8) {
    let level = match verbose {
        0 => "bootstead=info",
        1 => "bootstead=debug",
        _ => "bootstead=trace,async_tftp=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber (tests that run this twice) is no reason to stop.
    let _ = if g.json {
        builder.json().try_init()
    } else {
        use std::io::IsTerminal as _;
        builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}
