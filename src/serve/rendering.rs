//! Owns the running server's renderer: `boot::answers` for the site in use.

use super::hub::World;
use super::shared::Renders;
use crate::api::Orders;
use crate::base::Secret;
use crate::boot::{answers, orders};
use crate::kickstart::Answer;
use crate::problem::Problem;
use crate::site::Node;

/// Renders from the site's templates.
pub struct Rendering;

impl Renders for Rendering {
    fn script(&self, world: &World, node: &Node, _arming: u32, token: &Secret) -> Result<String, Problem> {
        answers::install_script(&world.site, &world.catalog, node, token)
    }
    fn answers(
        &self,
        world: &World,
        node: &Node,
        _arming: u32,
        token: &Secret,
    ) -> Result<Vec<Answer>, Problem> {
        answers::answers(&world.site, &world.catalog, node, token)
    }
    fn orders(&self, world: &World, node: &Node, arming: u32, token: &Secret) -> Result<Orders, Problem> {
        orders::orders(&world.site, &world.catalog, &world.stock, node, token, arming)
    }
}
