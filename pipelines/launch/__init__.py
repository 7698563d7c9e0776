"""How jobs come to Dataflow: profiles, template metadata, job files, launches, updates."""
