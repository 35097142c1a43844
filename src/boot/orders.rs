//! Owns the fast lane's orders: which disk, which root, and the files that make the written root this node. Pure.

use super::decide::{ROOT_MANIFEST, ready};
use crate::api::{OrderFile, Orders};
use crate::base::Secret;
use crate::images::Stock;
use crate::lifecycle::Lane;
use crate::problem::Problem;
use crate::site::{Catalog, Node, Site, context, image_of};

/// The template that holds all files, one after another.
const TEMPLATE: &str = "kickstart/fast/orders.j2";
/// What begins a file in it: `%%file PATH MODE`.
const MARK: &str = "%%file ";

/// What the fast lane's system is to do for `node`, under this arming. The prepared root must be in stock: its digest
/// goes with the orders, so that the node need not believe the manifest that it fetches.
pub fn orders(
    site: &Site,
    catalog: &Catalog,
    stock: &Stock,
    node: &Node,
    token: &Secret,
    arming: u32,
) -> Result<Orders, Problem> {
    let role = site.role(node);
    let image = image_of(catalog, role)?;
    ready(stock, image, Lane::Fast).map_err(Problem::input)?;
    let manifest = stock.images.get(&image.name).and_then(|s| s.files.get(ROOT_MANIFEST));
    let manifest =
        manifest.ok_or_else(|| Problem::input(format!("image {} has no prepared root", image.name)))?;
    let disk = site
        .disk_rule(node)
        .cloned()
        .ok_or_else(|| Problem::input(format!("there is no disk rule for {}", node.name)))?;
    Ok(Orders {
        node: node.name.clone(),
        role: role.name.clone(),
        arming,
        disk,
        erase: node.erase.clone(),
        root: format!("{}/images/{}/{ROOT_MANIFEST}", site.url(), image.name),
        root_sha256: manifest.sha256,
        files: files(site, catalog, node, token)?,
    })
}

/// The files that make the written root this node.
pub fn files(site: &Site, catalog: &Catalog, node: &Node, token: &Secret) -> Result<Vec<OrderFile>, Problem> {
    let context = context(site, catalog, node, token)?;
    split(&catalog.templates.render(TEMPLATE, &context)?)
}

/// The rendered template, cut into its files.
fn split(bundle: &str) -> Result<Vec<OrderFile>, Problem> {
    let bad =
        |line: &str| Problem::input(format!("{TEMPLATE}: {line:?} is not `%%file PATH MODE`, MODE as 0644"));
    let mut files: Vec<OrderFile> = Vec::new();
    for line in bundle.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix(MARK) {
            let mut words = rest.split_whitespace();
            let (Some(path), Some(mode), None) = (words.next(), words.next(), words.next()) else {
                return Err(bad(line.trim_end()));
            };
            let mode = u32::from_str_radix(mode, 8).map_err(|_| bad(line.trim_end()))?;
            if !path.starts_with('/') || path.contains("/../") || files.iter().any(|f| f.path == path) {
                return Err(bad(line.trim_end()).why("each file has one absolute path of its own"));
            }
            files.push(OrderFile { path: path.to_string(), mode, content: String::new() });
        } else if let Some(file) = files.last_mut() {
            file.content.push_str(line);
        } else if !line.trim().is_empty() {
            return Err(bad(line.trim_end()).why("the first file begins after this line"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_cut_into_its_files_and_nothing_else() {
        let files = split("\n%%file /a 0644\none\n\n%%file /b/c 0600\ntwo\n").unwrap();
        assert_eq!(files[0].content, "one\n\n");
        assert_eq!((files[1].path.as_str(), files[1].mode), ("/b/c", 0o600));
        for bad in
            ["x\n%%file /a 0644\n", "%%file a 0644\n", "%%file /a\n", "%%file /a 0644\n%%file /a 0644\n"]
        {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
