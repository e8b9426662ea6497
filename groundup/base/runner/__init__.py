"""The shard runner: units of tables, jobs that are whole or absent, where they run, and runs in which rows meet."""
