"""A greeting: a tool in Python."""

import wit_world
from componentize_py_types import Err


class WitWorld(wit_world.WitWorld):
    """The tools of the world, one method for each."""

    def greet(self, name: str) -> str:
        # A result's `err` is raised, its `ok` returned.
        if not name.strip():
            raise Err("the name is empty")
        return f"Hello, {name}, from Python!"
