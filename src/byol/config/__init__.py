"""Every setting of a run, frozen and typed; standard library only, so that --help is instant."""
