//! Owns `check`: files + catalog → `Site`, or every problem at once.
//!
//! Each part checks what is its own and returns what it could read, so that one mistake hides no other.

mod addresses;
mod links;
mod networks;
mod nodes;
mod parts;
mod place;
mod roles;
mod server;
mod vars;
mod vips;

use super::catalog::Catalog;
use super::model::{Network, Site};
use super::report::{Files, Report, Where};
use super::rows;
use super::tables;
use super::wire::SiteFile;
use crate::base::Sha256;
use crate::base::digest::Hasher;
use crate::problem::{Problem, Problems};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What all parts look at.
struct Check<'a> {
    report: Report<'a>,
    file: &'a SiteFile,
    catalog: &'a Catalog,
    /// The networks that could be read.
    networks: BTreeMap<String, Network>,
    /// Name of the provisioning network, if one can be told.
    provisioning: Option<String>,
    /// Who has an address, and where that is written.
    taken: BTreeMap<Ipv4Addr, (String, Where)>,
}

/// Checks a site. `Some` exactly where there is no error; warnings may be there in both cases.
pub fn check(files: &Files, catalog: &Catalog) -> (Option<Site>, Problems) {
    let mut report = Report::new(files);
    let Some(file) = super::shape::read(&mut report, &files.text) else {
        return (None, report.problems);
    };
    read_tables(&mut report, files, &file);
    examples(&mut report, files);
    let mut c = Check {
        report,
        file: &file,
        catalog,
        networks: BTreeMap::new(),
        provisioning: None,
        taken: BTreeMap::new(),
    };
    let place = place::check(&mut c);
    networks::check(&mut c);
    let server = server::check(&mut c);
    let roles = roles::check(&mut c);
    let vips = vips::check(&mut c);
    let raw = all_nodes(&mut c);
    let nodes = nodes::check(&mut c, &roles, raw);
    let access = place::access(&mut c, &roles);
    let vars = vars::site(&mut c, &roles);
    vars::etcd_source(&mut c, &roles, &nodes);
    let cluster = parts::check(&mut c, &roles, &vips, &nodes);
    let Check { report, networks, .. } = c;
    let mut problems = report.problems;
    problems.sort();
    let site = match (place, server) {
        (Some(place), Some(server)) if problems.errors() == 0 => Some(
            Site {
                name: place.name,
                domain: place.domain,
                timezone: place.timezone,
                language: place.language,
                keyboard: place.keyboard,
                server,
                access,
                networks,
                roles,
                vips,
                nodes,
                cluster,
                vars,
                digest: digest(files),
                by_mac: BTreeMap::new(),
            }
            .indexed(),
        ),
        _ if problems.errors() == 0 => {
            problems.push(Problem::fault("the site was not understood, and no problem says why"));
            None
        }
        _ => None,
    };
    (site, problems)
}

/// Digest of everything that the site is made from.
fn digest(files: &Files) -> Sha256 {
    let mut h = Hasher::new();
    h.update(files.text.as_bytes());
    for table in &files.tables {
        h.update(table.name.as_bytes());
        h.update(table.bytes.as_deref().unwrap_or_default());
    }
    h.finish()
}

fn read_tables(report: &mut Report, files: &Files, file: &SiteFile) {
    let named = file.site.as_ref().and_then(|s| s.nodes.as_ref());
    for table in &files.tables {
        let spot = named.and_then(|n| n.iter().find(|t| ***t == table.name));
        match (&table.bytes, spot) {
            (Some(bytes), _) => match tables::read(&files.beside(&table.name), bytes) {
                Ok(read) => {
                    report.grids.extend(read.grids);
                    report.problems.0.extend(read.warnings);
                }
                Err(p) => {
                    report.push(p);
                }
            },
            (None, Some(spot)) => {
                report.error(spot, format!("there is no file {:?} beside the site file", table.name)).help =
                    Some("write the table's path from the folder of the site file".to_string());
            }
            (None, None) => {}
        }
    }
}

/// `init` writes nodes.csv with example machines; beside a spreadsheet they are easily forgotten.
fn examples(report: &mut Report, files: &Files) {
    let example = |t: &&super::report::Table| {
        super::init::files()
            .iter()
            .any(|(name, text)| t.name == *name && t.bytes.as_deref() == Some(text.as_bytes()))
    };
    if let Some(table) = files.tables.iter().find(example)
        && files.tables.iter().any(|t| t.bytes.is_some() && t.name != table.name)
    {
        let shown = files.beside(&table.name);
        let what = format!("{shown} still holds the example machines, beside another table of nodes");
        report.push(Problem::input(what).warning().help(format!("remove {shown}")));
    }
}

fn all_nodes(c: &mut Check) -> Vec<rows::RawNode> {
    let mut raw = rows::from_file(c.file, &c.report.cut);
    let provisioning = c.provisioning.clone().unwrap_or_default();
    let known = rows::Known {
        networks: c.file.network.keys().map(|k| k.as_str()).collect(),
        roles: c.file.role.keys().map(|k| k.as_str()).collect(),
        provisioning: &provisioning,
    };
    for i in 0..c.report.grids.len() {
        raw.extend(rows::from_grid(&mut c.report, i, &known));
    }
    raw
}

impl<'a> Check<'a> {
    /// Names of all networks in the file, also of those that could not be read.
    fn network_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.file.network.keys().map(|k| k.as_str())
    }
    /// Whether the file has a network of this name; reports where not.
    fn knows_network(&mut self, name: &str, at: Where) -> bool {
        use super::report::Tell as _;
        if self.network_names().any(|n| n == name) {
            return true;
        }
        let names: Vec<&str> = self.network_names().collect();
        self.report.error(at, format!("there is no network {name:?}")).meant(name, names);
        false
    }
    /// An IPv4 address; reports where it is none.
    fn address(&mut self, text: &str, at: Where) -> Option<Ipv4Addr> {
        use super::report::Tell as _;
        match text.trim().parse() {
            Ok(a) => Some(a),
            Err(_) => {
                let bare = text.split_once('/').and_then(|(a, _)| a.trim().parse::<Ipv4Addr>().ok());
                let help = match bare {
                    Some(a) => format!("write {a} alone: the network says how long its prefix is"),
                    None => "write four numbers from 0 to 255 with dots between them: 10.77.0.11".to_string(),
                };
                self.report.error(at, format!("{text:?} is not an IPv4 address")).so(help);
                None
            }
        }
    }
    /// Whether a host may have `address` on `network`; reports where not.
    fn is_host(&mut self, network: &str, address: Ipv4Addr, at: Where) -> bool {
        use super::report::Tell as _;
        let Some(cidr) = self.networks.get(network).map(|n| n.cidr) else { return true };
        if cidr.is_host(address) {
            return true;
        }
        let what = match address {
            a if !cidr.contains(a) => format!("{address} is not on the network {network} ({cidr})"),
            a => {
                let whose = if a == cidr.first() { "the network's own" } else { "the broadcast" };
                format!("{address} is {whose} address of {network} ({cidr}), no host can have it")
            }
        };
        let (low, high) = (u32::from(cidr.first()), u32::from(cidr.last()));
        let help = match cidr.prefix() {
            31.. => format!("take one from {} to {}", cidr.first(), cidr.last()),
            _ => format!("take one from {} to {}", Ipv4Addr::from(low + 1), Ipv4Addr::from(high - 1)),
        };
        self.report.error(at, what).so(help);
        false
    }
    /// Notes who has `address`; reports where somebody else has it.
    fn take(&mut self, address: Ipv4Addr, who: &str, at: Where) -> bool {
        use super::report::Tell as _;
        if let Some((other, there)) = self.taken.get(&address).cloned() {
            let line = self.report.line(&there);
            self.report
                .error(at, format!("{who} has the address {address}, and so has {other}"))
                .because(format!("{other} has it by {line}"))
                .so("give one of them another address");
            return false;
        }
        self.taken.insert(address, (who.to_string(), at));
        true
    }
}
