"""The command that runs workers."""

import gc

from streamfilter.cli.run import settle_memory


def test_what_stays_is_not_looked_at_again() -> None:
    """A full round of the garbage collector would stop every thread for as long as it takes."""
    stays = [object()]
    try:
        settle_memory()
        comes = [object()]
        known = {id(each) for each in gc.get_objects()}
        assert id(stays) not in known
        assert id(comes) in known
    finally:
        gc.unfreeze()
