"""The measuring tool behind `scripts/measure`.

  cli            command line: finds the experiment, runs it, prints and writes the report
  experiments/   one file an experiment: its options, its columns, `run(session)`
  session        what an experiment gets: parameters, binaries, rounds, a place for figures
  rounds         the order of old and new in a round; medians, ratios, noise, verdict
  results        figures by row and round
  report         tables for people, one JSON object for programs
  harness        servers as children: sherwood, memcached, the echo
  load, tcp      runs of `sherwood load`; gets over TCP, for memcached
  stats          the figures of a running server, over UDP
  cost, tables   what several experiments have in common
  bench          runs of cargo's benches
  programs       which binary is measured, and how it is built
  options        options of experiments
  quantities     sizes, counts and figures as text
  machine        what the machine is

Standard library only. `tests/` has unit tests, which tests/measure.rs runs.
"""
