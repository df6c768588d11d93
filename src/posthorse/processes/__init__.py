"""The processes of a worker that load an application: supervisor, runners, children of isolated jobs; and rescue."""
