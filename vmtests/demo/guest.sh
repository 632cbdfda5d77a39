#!/bin/sh
# The demo's guest script: the same work under the same hog, first without scx_vnuma, then with it.
# Each run leaves a record, a line of JSON a second: /lab/out/without.jsonl and /lab/out/with.jsonl.
set -e

cat <<'TEXT'

Without scx_vnuma: eight migratable tasks are bound to node 0, and a hog comes to its host after six
seconds. You will see their time being stolen and the work staying where it is. (Bound, because that
is the alternative: a virtual machine of one host. Linux alone would scatter the tasks over all hosts,
since it takes the nodes of the cluster for one machine.)

TEXT
vnuma-scenarios demo without

cat <<'TEXT'

With scx_vnuma: the same eight tasks, nothing bound but the fixed task. The hog goes to the host that
has the work, three times. You will see steal rise there, the work leave it, and steal fall again.

TEXT
vnuma-scenarios demo with
