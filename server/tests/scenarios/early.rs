//! QUIC 0-RTT: who comes back is answered before the handshake is done, and changes nothing before it is.

use syncbridge_codec::message::{self, Message};

use crate::{
    net::{Net, run, who},
    wire::{Via, Wire, quic::Returning},
};

#[test]
fn who_comes_back_says_hello_in_0_rtt_and_its_updates_are_applied_once() {
    run(Via::Quic, Via::WebSocket, async |net: &Net| {
        let host = net.host();
        let device = Returning::new(host.address(), host.roots());
        let me = who("ann", "phone");
        let (link, early) = device.connect().await;
        assert!(early.is_none(), "the first time there is nothing to come again with");
        let mut first = Wire::over(link);
        host.greet(&mut first, &me).await;
        let made = first.create("s", r#"{"n":0}"#).await;
        let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
        let mut seen = watcher.subscribe("s").await;
        first.close().await;

        let (link, early) = device.connect().await;
        let early = early.expect("a ticket of the first connection");
        let mut second = Wire::over(link);
        // All of it leaves before the server has said a word.
        second.send(host.hello(&me.clone().at("s", &made))).await;
        let operations = r#"[{"op":"replace","path":"/n","value":1}]"#;
        second.counter("s");
        let update = message::Update { base: made.clone(), ..second.update("s", operations) };
        second.send(update).await;
        assert!(matches!(second.control().await, Message::Welcome(_)));
        let Message::Resumed(resumed) = second.session().await else { panic!("no Resumed") };
        assert_eq!((resumed.after, resumed.version), (1, 1));
        let Message::Accepted(accepted) = second.session().await else { panic!("no Accepted") };
        assert!(accepted.changed && accepted.at.version == 2);
        assert!(early.await, "the server took the early data");
        watcher.follow_to(&mut seen, 2).await;
        assert_eq!(watcher.settle("s").await, [], "once");
        second.close().await;
    });
}

#[test]
fn a_server_that_was_started_anew_refuses_early_data() {
    run(Via::Quic, Via::Quic, async |net: &Net| {
        let host = net.durable_host();
        let device = Returning::new(host.address(), host.roots());
        let (link, _) = device.connect().await;
        let mut first = Wire::over(link);
        host.greet(&mut first, &who("ann", "phone")).await;
        first.create("s", "{}").await;
        first.close().await;
        host.stop().await;
        host.start_in_place();
        let (link, early) = device.connect().await;
        // What was written on its streams is lost with them.
        assert!(!early.expect("a ticket of the first connection").await, "the new server knows no ticket");
        drop(link);
    });
}
