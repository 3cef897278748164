/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path: the only part of the daemon (beside selftest) that knows libbpf.
 *
 * Loads or takes over the pinned maps and programs, asks the kernel for the facts of a socket, puts ends in the
 * sockhash and takes them out. It keeps no policy: the order of the steps (invariants 3 and 5) is its caller's.
 */
#ifndef SMACCEL_DATAPATH_H
#define SMACCEL_DATAPATH_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/shared.h"

struct datapath;

struct datapath_options {
	const char *pin_dir; /* e.g. /sys/fs/bpf/smaccel; made if missing (0700). NULL: private maps, no pins (tests) */
	uint32_t slot_count; /* 0: SM_SLOTS_DEFAULT */
	bool verbose_libbpf;
	bool force_probe_read;    /* tests: do not use bpf_rdonly_cast though the kernel has it */
	int force_memory_cgroups; /* tests: their version, 1 or 2; 0: what this host has */
	bool skip_rmem_probe;     /* tests: take the kernel for one of before 6.1.123 / 6.12.8 (fact 12) */
};

/* Makes `pin_dir` (0700) and mounts bpffs on /sys/fs/bpf if nobody did, so that the folder can be locked before anything in it is
 * looked at. datapath_open() does so, too. 0 or -errno with a line on stderr. */
int datapath_pins_prepare(const char *pin_dir);
/* Loads the programs, or takes over the maps pinned in options->pin_dir when their ABI and size fit (slots, sockhash,
 * storage, switches live on). Raises switches->helper_generation. What does not fit is left alone, until datapath_commit(). 0 and *out,
 * or -errno with a line on stderr that says what to do. */
int datapath_open(struct datapath **out, const struct datapath_options *options);
/* Pins new maps, in the place of any that do not fit: their kill switch holds for the new ones, and what runs on them goes by TCP from
 * then on. The last step of a start that needs capabilities: one that fails before it has changed nothing for the next helper. 0 (also
 * if there was nothing to do), or -errno with a line on stderr. */
int datapath_commit(struct datapath *datapath);
bool datapath_is_committed(const struct datapath *datapath); /* or there was nothing to do */
void datapath_committed(struct datapath *datapath);          /* a child of this process has done so */
/* Closes fds and mappings. Pins stay: armed pairs run on (fact 21). NULL is fine. */
void datapath_close(struct datapath *datapath);

struct sm_slot *datapath_slots(struct datapath *datapath, uint32_t *count); /* mapped, shared with the verdict */
struct sm_switches *datapath_switches(struct datapath *datapath);
bool datapath_took_over(const struct datapath *datapath); /* maps of an earlier helper were found */
bool datapath_uses_rdonly_cast(const struct datapath *datapath);

/* What the kernel knows of the socket that this process has under `fd`, whatever the fd is: nothing is locked, nothing
 * blocks, and the socket stays as it is. look->is_tcp: it is a TCP socket, and the rest was filled in. 0 or -errno. */
int datapath_look(struct datapath *datapath, int fd, struct sm_look *look);

/* Puts a socket in the sockhash under its cookie, with its sk_storage set to {slot, side, generation}. SO_COOKIE must have
 * been asked for on it. 0, -EBUSY, -EOPNOTSUPP (not established), -EINVAL (ULP), -errno. */
int datapath_insert(struct datapath *datapath, int fd, uint64_t cookie, const struct sm_endref *ref);
/* Takes an entry out. The caller has made sure that its redirected bytes are read (invariant 5). -ENOENT: not there. */
int datapath_remove(struct datapath *datapath, uint64_t cookie);
/* Whether the sockhash has an entry of that cookie; false once the socket was closed. */
bool datapath_present(struct datapath *datapath, uint64_t cookie);

/* Facts of a socket by its address, without an fd: facts->found says whether the address still names the socket with
 * that cookie. 0 or -errno. */
int datapath_inspect(struct datapath *datapath, uint64_t sk, uint64_t cookie, struct sm_facts *facts);
/* The same for both ends of a slot, side 0 first. An end without a cookie is not found. */
int datapath_inspect_pair(struct datapath *datapath, const struct sm_end ends[SM_SIDES],
			  struct sm_facts facts[SM_SIDES]);

/* Which of these sockets, once inserted, are still there: as datapath_present(), for many in one call. A socket whose last
 * fd is closed while a thread is inside it counts as present until that thread has left. On failure all do. 0 or -errno. */
struct datapath_member {
	uint64_t sk, cookie;
	bool present;
};
#define DATAPATH_ROLL_MAX SM_ROLL_MAX
int datapath_roll_call(struct datapath *datapath, struct datapath_member *members, uint32_t count);
/* datapath_inspect(), with facts->blocked_own of that process. */
int datapath_inspect_for(struct datapath *datapath, uint64_t sk, uint64_t cookie, uint32_t pid, struct sm_facts *facts);
/* How many of a socket's fds, and no more than `most`, has the process that made the unix socket which this process has under channel_fd
 * (SO_PEERCRED's)? 0: it is gone, too. 0 or -errno; -ERANGE: it has so many that not all were looked at. */
int datapath_count_fds(struct datapath *datapath, uint64_t sk, uint64_t cookie, int channel_fd, uint32_t most,
		       uint32_t *count);

/* Notes from now on which processes are stopped (bpf/stops.bpf.c). 0 and *out, or -errno: the kernel refuses the program. */
struct datapath_stops;
int datapath_stops_open(struct datapath_stops **out);
void datapath_stops_close(struct datapath_stops *stops); /* NULL is fine */
/* The map of words, as struct wire_stops has it; the fd is borrowed. */
int datapath_stops_words(const struct datapath_stops *stops, uint32_t *count);

#endif
