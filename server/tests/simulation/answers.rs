//! What exactly a writer is sent for an update of its own.

use syncbridge_codec::Message;

use super::desk::Desk;

#[test]
fn in_the_writers_stream_the_answer_takes_the_place_of_its_own_event() {
    let mut desk = Desk::new(64 << 10);
    for fd in 0..3 {
        desk.connect(fd);
        desk.subscribe(fd, "a", false, false);
        desk.settle();
    }
    desk.sockets.sent.clear();
    // The others' events that came before it go first.
    desk.update(1, "a", 1);
    desk.update(0, "a", 1);
    desk.update(2, "a", 1);
    desk.settle();
    let versions: Vec<_> = desk
        .heard(0)
        .into_iter()
        .map(|message| match message {
            Message::Delta(delta) => ("event", delta.at.version),
            Message::Accepted(accepted) => ("answer", accepted.at.version),
            other => panic!("{other:?} was not expected"),
        })
        .collect();
    assert_eq!(versions, [("event", 2), ("answer", 3), ("event", 4)]);
}
