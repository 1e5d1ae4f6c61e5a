use super::*;

fn answer(kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from("x"));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Whether this is so far from its end that the clock, which is stopped, runs on for a day.
async fn lasts(what: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(Duration::from_secs(24 * 3600), what)
        .await
        .is_err()
}

#[tokio::test(start_paused = true)]
async fn an_http_2_connection_that_is_idle_or_whose_answers_are_not_read_is_overdue() {
    let drain = Drain::new();
    let talk = drain.talk();
    let begin = Instant::now();
    talk.overdue().await;
    assert_eq!(begin.elapsed(), IDLE);

    // An answer that is under way counts from its request, and an older one first.
    let begin = Instant::now();
    let [first, second] = [talk.asked(), talk.asked()];
    let unread = first.answers(answer("text/html"), false, true);
    drop(second);
    talk.overdue().await;
    assert_eq!(begin.elapsed(), ANSWER_TIME);
    drop(unread);
    let begin = Instant::now();
    talk.overdue().await;
    assert_eq!(begin.elapsed(), IDLE);

    // An event stream lasts.
    let stream = talk
        .asked()
        .answers(answer("text/event-stream"), false, true);
    assert!(lasts(talk.overdue()).await);
    drop(stream);
    let begin = Instant::now();
    talk.overdue().await;
    assert_eq!(begin.elapsed(), IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_answers_and_not_for_event_streams() {
    let drain = Drain::new();
    let talk = drain.talk();
    let stream = talk
        .asked()
        .answers(answer("text/event-stream"), false, true);
    let asked = talk.asked();
    assert!(lasts(talk.answered(true)).await);
    let unread = asked.answers(answer("text/html"), true, true);
    assert!(lasts(talk.answered(true)).await, "it is not whole yet");
    drop(unread);
    talk.answered(true).await;
    assert!(lasts(talk.over()).await);
    let finished = tokio::spawn(drain.finished());
    talk.rest();
    finished.await.expect("nobody else is waited for");
    drop(stream);
    talk.over().await;
}

#[tokio::test]
async fn only_http_1_says_in_a_header_that_a_connection_ends() {
    let drain = Drain::new();
    let talk = drain.talk();
    let close = HeaderValue::from_static("close");
    let one = talk.asked().answers(answer("text/html"), true, false);
    assert_eq!(one.headers().get(header::CONNECTION), Some(&close));
    let mut response = answer("text/html");
    response.headers_mut().insert(header::CONNECTION, close);
    let two = talk.asked().answers(response, true, true);
    assert!(!two.headers().contains_key(header::CONNECTION));
}
