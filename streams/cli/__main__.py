"""``python -m streams.cli``: the ``planner`` command."""

from streams.cli import main

if __name__ == "__main__":
    main(prog_name="planner")
