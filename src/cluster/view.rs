//! Owns what parts' templates see: the node, the members of each part, virtual addresses, variables.

use crate::base::Mac;
use crate::lifecycle::Work;
use crate::problem::{Problem, Problems};
use crate::profiles::part::{On, Verify};
use crate::site::{Catalog, Node, Role, Site};
use crate::steps::{Run, Step};
use crate::tree::template::{Names, Shared};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

/// One node as another node's files name it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    pub name: String,
    pub fqdn: String,
    pub number: u32,
    pub role: String,
    /// On the cluster's network.
    pub address: Ipv4Addr,
    /// On every network: a virtual address may be on another one.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    pub mac: String,
    /// Its place among the members of the part, from 0.
    pub index: usize,
    /// All its parts grow (compute): it stands in nobody else's files.
    pub grows: bool,
}

#[derive(Debug, Serialize)]
struct Myself<'a> {
    name: &'a str,
    fqdn: String,
    number: u32,
    role: &'a str,
    address: Ipv4Addr,
    mac: String,
    /// `debian` or `el`.
    family: &'static str,
    /// `apt` or `dnf`.
    pm: &'static str,
    /// Debian's name of the release, `bookworm`; empty elsewhere.
    suite: &'a str,
    addresses: &'a BTreeMap<String, Ipv4Addr>,
    index: usize,
    first: bool,
}

#[derive(Debug, Serialize)]
struct VipAt {
    address: Ipv4Addr,
    prefix: u8,
    network: String,
}

/// Everything about the cluster that does not depend on the node: made once per plan.
pub struct View<'a> {
    pub site: &'a Site,
    pub catalog: &'a Catalog,
    /// Nodes that have any part, with their place in `site.nodes`.
    pub nodes: Vec<&'a Node>,
    /// Members of each part, in the order of the site's nodes.
    pub members: BTreeMap<&'a str, Vec<&'a Node>>,
    /// The first node of each part.
    pub first: BTreeMap<&'a str, Mac>,
    shared: Names,
    /// Of each part's members, as templates see them.
    lists: BTreeMap<&'a str, Shared>,
    /// A node's place among the members of a part.
    places: BTreeMap<&'a str, HashMap<Mac, usize>>,
    /// The variables of a role's nodes that set none of their own.
    vars: BTreeMap<&'a str, Shared>,
}

impl<'a> View<'a> {
    /// `Err` where a node's operating system has no package manager, or it has no address on the cluster's network.
    pub fn new(site: &'a Site, catalog: &'a Catalog, work: &Work) -> Result<View<'a>, Problems> {
        let Some(cluster) = &site.cluster else {
            return Err(Problem::input("the site makes no cluster")
                .why("it has no [cluster] table, so nodes are installed and nothing more")
                .help("add `[cluster]` to the site file; docs/site-file.md says what it takes")
                .into());
        };
        let mut problems = Problems::default();
        let mut nodes = Vec::new();
        for node in &site.nodes {
            let role = site.role(node);
            if role.parts.is_empty() {
                continue;
            }
            if site.cluster_address(node).is_none() {
                problems.push(Problem::input(format!("{} has no address on {}", node.name, cluster.network)));
            } else if manager(catalog, site, node).is_none() {
                problems.push(
                    Problem::input(format!(
                        "{} cannot have parts: {} has no package manager",
                        node.name, role.image
                    ))
                    .help("take an image of a Debian or EL family for this role, or give it `parts = []`"),
                );
            } else {
                nodes.push(node);
            }
        }
        if problems.errors() > 0 {
            return Err(problems);
        }
        let mut members: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for part in catalog.parts.keys() {
            let has = |n: &&&Node| site.role(n).parts.contains(part);
            members.insert(part, nodes.iter().filter(has).copied().collect());
        }
        let first = members
            .iter()
            .filter_map(|(part, list)| {
                let recorded = work.elected.get(*part).filter(|mac| list.iter().any(|n| n.mac() == **mac));
                Some((*part, recorded.copied().or_else(|| Some(list.first()?.mac()))?))
            })
            .collect();
        let place = |list: &Vec<&Node>| list.iter().enumerate().map(|(i, n)| (n.mac(), i)).collect();
        let places = members.iter().map(|(part, list)| (*part, place(list))).collect();
        let (shared, lists, vars) = (Names::default(), BTreeMap::new(), BTreeMap::new());
        let mut view = View { site, catalog, nodes, members, first, shared, lists, places, vars };
        view.lists = view.members.iter().map(|(p, list)| (*p, Shared::of(&view.as_members(list)))).collect();
        let role = |r: &'a Role| (r.name.as_str(), Shared::of(&view.vars(r, &BTreeMap::new())));
        view.vars = site.roles.values().map(role).collect();
        view.share();
        Ok(view)
    }

    fn share(&mut self) {
        let site = self.site;
        let vips: BTreeMap<&str, VipAt> = site
            .vips
            .values()
            .filter_map(|v| {
                let prefix = site.networks.get(&v.network)?.cidr.prefix();
                Some((v.name.as_str(), VipAt { address: v.address, prefix, network: v.network.clone() }))
            })
            .collect();
        let names = BTreeMap::from([("name", &site.name), ("domain", &site.domain)]);
        let network = site.cluster.as_ref().and_then(|c| site.networks.get(&c.network));
        let cluster: BTreeMap<&str, String> =
            network.map(|n| ("cidr", n.cidr.to_string())).into_iter().collect();
        let server = BTreeMap::from([("address", site.server.address.to_string()), ("url", site.url())]);
        let mut shared = Names::default();
        shared.set("site", Shared::of(&names));
        shared.set("server", Shared::of(&server));
        shared.set("cluster", Shared::of(&cluster));
        shared.set("members", Shared::map(&self.lists));
        shared.set("nodes", Shared::of(&self.as_members(&self.nodes)));
        shared.set("vip", Shared::of(&vips));
        self.shared = shared;
    }

    fn as_members(&self, list: &[&Node]) -> Vec<Member> {
        let one = |(index, node): (usize, &&Node)| {
            let parts = &self.site.role(node).parts;
            Some(Member {
                name: node.name.clone(),
                fqdn: self.site.fqdn(node),
                number: node.number,
                role: node.role.clone(),
                address: self.site.cluster_address(node)?,
                addresses: node.addresses.clone(),
                mac: node.mac().to_string(),
                index,
                grows: parts.iter().any(|p| self.catalog.parts.get(p).is_some_and(|p| p.grows)),
            })
        };
        list.iter().enumerate().filter_map(one).collect()
    }

    /// Whether `node` is the part's first one.
    pub fn is_first(&self, part: &str, node: &Node) -> bool {
        self.first.get(part) == Some(&node.mac())
    }

    /// Whether what is `on` runs on this node.
    fn meant(&self, on: On, part: &str, node: &Node) -> bool {
        match on {
            On::All => true,
            On::First | On::Once => self.is_first(part, node),
            On::Rest => !self.is_first(part, node),
        }
    }

    /// The names that the templates of `part` see on `node`.
    pub fn names(&self, part: &str, node: &Node) -> Result<Names, Problem> {
        let role = self.site.role(node);
        let index = self.places.get(part).and_then(|p| p.get(&node.mac())).copied();
        let pm = manager(self.catalog, self.site, node).unwrap_or("apt");
        let address = self.site.cluster_address(node).ok_or_else(|| {
            Problem::input(format!("{} has no address on the cluster's network", node.name))
        })?;
        let mut names = self.shared.clone();
        names.set(
            "node",
            Shared::of(&Myself {
                name: &node.name,
                fqdn: self.site.fqdn(node),
                number: node.number,
                role: &role.name,
                address,
                mac: node.mac().to_string(),
                family: family(pm),
                pm,
                suite: self.catalog.images.get(&role.image).map_or("", |i| &i.suite),
                addresses: &node.addresses,
                index: index.unwrap_or(0),
                first: self.is_first(part, node),
            }),
        );
        if let Some(list) = self.lists.get(part) {
            // Who is no member has all of them as peers.
            names.set("peers", index.map_or_else(|| list.clone(), |i| list.without(i)));
        }
        names.set("parts", Shared::of(&role.parts));
        let usual = self.vars.get(role.name.as_str()).filter(|_| node.vars.is_empty());
        names.set("vars", usual.cloned().unwrap_or_else(|| Shared::of(&self.vars(role, &node.vars))));
        Ok(names)
    }

    /// The defaults of the role's parts and profile, then the site's, the role's, the node's values.
    fn vars(&self, role: &Role, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut vars: BTreeMap<String, String> = BTreeMap::new();
        for part in self.catalog.parts.values() {
            let with = |(k, v): (&String, &crate::profiles::Var)| Some((k.clone(), v.default.clone()?));
            vars.extend(part.vars.iter().filter_map(with));
        }
        if let Some(profile) = self.catalog.profiles.get(&role.profile) {
            vars.extend(profile.vars.iter().filter_map(|(k, v)| Some((k.clone(), v.default.clone()?))));
        }
        for more in [&self.site.vars, &role.vars, own] {
            vars.extend(more.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        vars
    }
}

/// The package manager of a node's operating system: `apt` or `dnf`.
pub fn manager(catalog: &Catalog, site: &Site, node: &Node) -> Option<&'static str> {
    let image = catalog.images.get(&site.role(node).image)?;
    Some(catalog.families.get(&image.family)?.packages?.key())
}

/// The word of `family = […]` in parts.
pub fn family(pm: &str) -> &'static str {
    if pm == "dnf" { "el" } else { "debian" }
}

/// The phases of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    State,
    Begin,
    Join,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::State => "state",
            Phase::Begin => "begin",
            Phase::Join => "join",
        }
    }
}

/// One thing to look at on one node: `bootstead verify`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    pub node: String,
    pub mac: Mac,
    /// `galera.size`
    pub id: String,
    pub title: String,
    #[serde(skip)]
    pub step: Step,
    pub timeout: u32,
}

/// Every check of the site's parts, on the nodes that it is meant for.
pub fn looks(site: &Site, catalog: &Catalog, work: &Work) -> Result<Vec<Look>, Problems> {
    let view = View::new(site, catalog, work)?;
    let mut out = Vec::new();
    for (part, members) in &view.members {
        let Some(found) = catalog.parts.get(*part) else { continue };
        for row in &found.verify {
            for node in members {
                if view.meant(row.on, part, node)
                    && let Some(look) = look(&view, part, row, node)?
                {
                    out.push(look);
                }
            }
        }
    }
    Ok(out)
}

/// What a backup of the cluster takes, from which node.
pub fn backups(site: &Site, catalog: &Catalog, work: &Work) -> Result<Vec<Look>, Problems> {
    let view = View::new(site, catalog, work)?;
    let mut out = Vec::new();
    for (part, members) in &view.members {
        let Some(backup) = catalog.parts.get(*part).and_then(|p| p.backup.as_ref()) else { continue };
        for node in members.iter().filter(|n| view.meant(backup.on, part, n)) {
            let row = Verify {
                id: "backup".to_string(),
                title: format!("backup of {part}"),
                on: backup.on,
                when: None,
                run: backup.run.clone(),
                env: backup.env.clone(),
                timeout: backup.timeout,
            };
            let found = look(&view, part, &row, node)?;
            out.extend(found.map(|l| match l.step {
                Step::Run(run) => Look { step: Step::Collect(run), ..l },
                step => Look { step, ..l },
            }));
        }
    }
    Ok(out)
}

/// How what a backup took of a part is brought back, on the nodes that it is brought to.
pub fn restores(site: &Site, catalog: &Catalog, work: &Work, part: &str) -> Result<Vec<Look>, Problems> {
    let view = View::new(site, catalog, work)?;
    let backup = catalog.parts.get(part).and_then(|p| p.backup.as_ref());
    let Some((backup, script)) = backup.and_then(|b| Some((b, b.bring_back.as_ref()?))) else {
        let problem = Problem::input(format!("the part {part:?} is not brought back by a command"));
        return Err(match backup {
            Some(b) => problem.why("it is not safe without a person").help(b.restore.clone()).into(),
            None => problem.why("a backup takes nothing of it").into(),
        });
    };
    let row = Verify {
        id: "bring-back".to_string(),
        title: format!("bringing back {part}"),
        on: backup.on,
        when: None,
        run: script.clone(),
        env: backup.env.clone(),
        timeout: backup.timeout,
    };
    let members = view.members.get(part).cloned().unwrap_or_default();
    let meant = members.iter().filter(|n| view.meant(backup.on, part, n));
    let found: Result<Vec<_>, Problem> = meant.map(|n| look(&view, part, &row, n)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// One of a part's recovery scripts on every member, or on one.
pub fn recovery(
    site: &Site,
    catalog: &Catalog,
    work: &Work,
    part: &str,
    phase: Phase,
    only: Option<&str>,
) -> Result<Vec<Look>, Problems> {
    let view = View::new(site, catalog, work)?;
    let Some(recover) = catalog.parts.get(part).and_then(|p| p.recover.as_ref()) else {
        let known: Vec<&str> =
            catalog.parts.values().filter(|p| p.recover.is_some()).map(|p| p.name.as_str()).collect();
        return Err(Problem::input(format!("the part {part:?} has no way of recovery"))
            .help(format!("these have one: {}", known.join(", ")))
            .into());
    };
    let script = match phase {
        Phase::State => &recover.state,
        Phase::Begin => &recover.begin,
        Phase::Join => &recover.join,
    };
    let members = view.members.get(part).cloned().unwrap_or_default();
    let mut out = Vec::new();
    for node in members.into_iter().filter(|n| only.is_none_or(|o| o == n.name)) {
        let row = Verify {
            id: format!("recover-{}", phase.name()),
            title: format!("{part}: {}", phase.name()),
            on: On::All,
            when: None,
            run: script.clone(),
            env: BTreeMap::new(),
            timeout: recover.timeout,
        };
        out.extend(look(&view, part, &row, node)?);
    }
    Ok(out)
}

pub(super) fn look(view: &View, part: &str, row: &Verify, node: &Node) -> Result<Option<Look>, Problem> {
    let names = view.names(part, node)?;
    let templates = &view.catalog.part_templates;
    let shown = format!("profiles/parts/{part}/part.toml, check {}", row.id);
    if let Some(when) = &row.when
        && !templates.holds(&shown, when, &names)?
    {
        return Ok(None);
    }
    let text = |source: &String| templates.text_with(&shown, source, &names);
    let env = row.env.iter().map(|(k, v)| Ok((k.clone(), text(v)?))).collect::<Result<_, Problem>>()?;
    let run = Run {
        script: text(&row.run)?,
        env,
        unless: None,
        creates: None,
        changed_if: None,
        user: None,
        retries: 0,
    };
    Ok(Some(Look {
        node: node.name.clone(),
        mac: node.mac(),
        id: format!("{part}.{}", row.id),
        title: text(&row.title)?,
        step: Step::Run(run),
        timeout: row.timeout,
    }))
}
