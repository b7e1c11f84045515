"""A connection to a broker that never was."""


class Published:
    def __init__(self, *, done: bool) -> None:
        self.is_published = lambda: done


class Line:
    """A connection whose broker acknowledges, or is gone."""

    def __init__(self, *, alive: bool = True) -> None:
        self.alive = alive
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, where: str, payload: bytes) -> Published:
        self.sent.append((where, payload))
        return Published(done=self.alive)

    def step(self, _timeout_s: float) -> bool:
        return False
