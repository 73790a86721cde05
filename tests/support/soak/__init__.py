"""The soak: programs, people, storages and deaths at random, all from one seed; and what must hold all the same."""
