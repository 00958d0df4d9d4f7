"""How a program's own test suite uses the mock: register, post, move the clock, assert."""


def test_an_order_is_delivered(mock, shop):
    mock.register(shop.url)
    event_id = mock.post_event("order_shipped", {"external_person_id": "p1", "order_id": "A-1"})
    assert shop.orders == {}  # nothing moves by itself

    moved = mock.advance(until="idle")

    assert moved["idle"]
    assert shop.orders["A-1"] == [
        "accepted_by_event_triggered_message",
        "queued",
        "sent",
        "delivered",
    ]
    states = {d["outcome"]: d["state"] for d in mock.deliveries(event_id=event_id)}
    assert states == {
        "routing.accepted": "accepted",
        "processing.queued": "accepted",
        "carrier.sent": "accepted",
        "handset.delivered": "accepted",
    }


def test_the_carrier_rejects(mock, shop):
    mock.register(shop.url, callbacks_to_send="only_failures")
    # A magic recipient: nothing to set up.
    mock.post_event("order_shipped", {"external_person_id": "vm-carrier-rejected", "order_id": "A-2"})
    mock.advance(until="idle")
    assert shop.orders["A-2"] == ["rejected"]


def test_a_retry_ladder_takes_no_time(mock, shop):
    shop.answers = [503] * 5
    mock.register(shop.url, callbacks_to_send="handset_dlr")
    event_id = mock.post_event("order_shipped", {"external_person_id": "p3", "order_id": "A-3"})
    mock.advance(until="idle")
    [delivery] = mock.deliveries(event_id=event_id, outcome="handset.delivered")
    assert delivery["state"] == "accepted"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503] * 5 + [200]
    assert shop.orders["A-3"] == ["delivered"]


def test_half_way(mock, shop):
    mock.register(shop.url)
    event_id = mock.post_event("order_shipped", {"external_person_id": "p4", "order_id": "A-4"})
    mock.advance(by="400ms")  # routed and queued by then; the handset takes longer
    got = shop.orders["A-4"]
    assert "queued" in got and "delivered" not in got
    assert mock.deliveries(event_id=event_id, state="pending")
