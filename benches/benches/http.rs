//! What the frame of `rest/` costs around a route: a bare axum router that answers with the bytes of a small session, and
//! the same router in the frame, called in this process. Sockets and hyper are not in it: `perf api` measures those.
#![allow(missing_docs)] // criterion's macros make public items

use std::{cell::RefCell, hint::black_box, net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, header},
    routing::get,
};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use syncbridge::{admin::Metrics, config::Config, rest::frame::Frame};
use tower_service::Service as _;

const PATH: &str = "/api/v1/sessions/{id}";
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Answers as `GET sessions/{id}` does, and does nothing for it.
fn router() -> Router {
    let body = Bytes::from_static(
        br#"{"sessionId":"a-session","version":100000,"epoch":1,"state":{"title":"hello"},"activeDeviceId":"phone"}"#,
    );
    let json = HeaderValue::from_static("application/json");
    let tag = HeaderValue::from_static("\"1.100000\"");
    Router::new().route(
        PATH,
        get(async move || ([(header::CONTENT_TYPE, json.clone()), (header::ETAG, tag.clone())], body.clone())),
    )
}

/// As a client sends it.
fn request(more: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::get("/api/v1/sessions/a-session").header("host", "127.0.0.1:7400");
    request = request.header("authorization", "Bearer eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl").header("accept", "*/*");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

fn get_session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get session");
    group.throughput(Throughput::Elements(1));

    let bare = RefCell::new(router());
    group.bench_function("bare", |bench| {
        bench.iter(|| {
            let Ok(answer) =
                bare.borrow_mut().call(black_box(request(&[]))).now_or_never().expect("it waits for nothing");
            answer
        });
    });

    let templates: Arc<[String]> = [PATH.to_owned()].into();
    let frame = Frame::new(router(), &Config::default().http, &templates, &Metrics::new(1));
    for (name, more) in [
        ("framed", &[][..]),
        ("framed, gzip taken", &[("accept-encoding", "gzip, deflate, br")]),
        ("framed, named", &[("x-request-id", "5f0c6a1e-2b7d-4d55-9e0c-3a7d1f6b8c11")]),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| frame.answer(black_box(request(more)), PEER).now_or_never().expect("it waits for nothing"));
        });
    }
    // What every one of them pays and none of them is: the request itself.
    group.bench_function("request", |bench| bench.iter(|| black_box(request(&[]))));
    group.finish();
}

criterion_group!(benches, get_session);
criterion_main!(benches);
