//! LangGraph Server's addresses, with its bodies, status codes and words. Unknown fields are ignored here, as its own
//! server does; known ones that are not built are 501.

mod assistants;
pub(crate) mod bodies;
mod copy;
mod made;
mod prune;
mod runs;
mod search;
mod server;
mod state;
mod store;
mod streams;
mod threads;
mod ttl;
mod unbuilt;
mod waits;

use crate::route::Route;

const TAG: &str = "langgraph";

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = threads::routes();
    routes.extend(copy::routes());
    routes.extend(prune::routes());
    routes.extend(search::routes());
    routes.extend(runs::routes());
    routes.extend(state::routes());
    routes.extend(streams::routes());
    routes.extend(waits::routes());
    routes.extend(assistants::routes());
    routes.extend(store::routes());
    routes.extend(server::routes());
    routes.extend(unbuilt::routes());
    routes
}
