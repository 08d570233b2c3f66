//! HTTP requests by route, method and class of status, and how long they took. Each shard counts for itself; a scrape adds
//! up. A path that is no route counts under `other`, so that a stranger cannot make labels.

use std::{sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};

use super::metrics::{Counter, Latency};

/// Names of the methods that are told apart.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
/// Names of the classes of status.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The requests of one shard.
#[derive(Debug)]
pub struct Requests {
    templates: Arc<[String]>,
    paths: matchit::Router<usize>,
    /// One for each template, and one more for what is none.
    routes: Box<[Route]>,
}

/// What is counted of a route.
#[derive(Debug, Default)]
pub struct Route {
    /// By [`METHODS`] and [`CLASSES`].
    pub counts: [[Counter; CLASSES.len()]; METHODS.len()],
    /// From the end of a request's head to its answer's head.
    pub latency: Latency,
}

impl Requests {
    /// Zeros for routes with these paths, parameters in braces.
    pub fn new(templates: &Arc<[String]>) -> Self {
        let mut paths = matchit::Router::new();
        for (index, template) in templates.iter().enumerate() {
            if let Err(error) = paths.insert(template.clone(), index) {
                tracing::error!(%error, template, "a route will be counted as another");
            }
        }
        let routes = (0..=templates.len()).map(|_| Route::default()).collect();
        Self { templates: Arc::clone(templates), paths, routes }
    }

    /// The number of the route that a path belongs to.
    pub fn route(&self, path: &str) -> usize {
        self.paths.at(path).map_or(self.templates.len(), |found| *found.value)
    }

    /// Counts a request to the route of this number.
    pub fn observe(&self, route: usize, method: &Method, status: StatusCode, took: Duration) {
        let Some(route) = self.routes.get(route) else { return };
        let method = match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::PATCH => 4,
            Method::DELETE => 5,
            _ => 6,
        };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        route.counts[method][class].increment();
        route.latency.observe(took);
    }

    /// Every route with its path.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.templates.iter().map(|template| &**template).chain(["other"]).zip(&self.routes)
    }
}
