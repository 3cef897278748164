/* SPDX-License-Identifier: BSD-2-Clause */
/* Child processes of a trial: each in a process group of its own, its output kept, its end awaited without a race.
 *
 * Who owns what: a group is ended while its leader is still a zombie, so that its number cannot belong to anyone else. What left
 * its group (daemons) becomes a child of this process, the subreaper, and is ended by ab_sweep(). Children that are still
 * direct die with this process, however that ends (PR_SET_PDEATHSIG).
 */
#ifndef SMACCEL_CLI_AB_PROCESS_H
#define SMACCEL_CLI_AB_PROCESS_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "text.h"

enum ab_stream { AB_STDOUT = 0, AB_STDERR = 1, AB_STREAMS };

struct ab_process {
	pid_t pid; /* 0: none */
	int pidfd; /* -1: none */
	int output[AB_STREAMS];
	struct ab_text text[AB_STREAMS];
	bool ended;       /* the leader is a zombie, or reaped */
	bool reaped;      /* status and cpu_s stand */
	int status;       /* as of wait4() */
	double cpu_s;     /* user and system, with all children that it waited for */
	int64_t start_ns; /* exec succeeded */
	int64_t end_ns;
};

struct ab_spawn {
	char *const *argv;
	const cpu_set_t *cpus; /* NULL: as this process */
	/* Runs in the child, before exec; what it prints goes to the child's stderr. False: the child ends. */
	bool (*prepare)(const void *context);
	const void *context;
};

int64_t ab_now_ns(void);

/* Once, before all: if this process has children already, which its caller has started, a child goes on in its place, and it returns there;
 * signals that end a trial are blocked and read from a descriptor, SIGPIPE is ignored; the subreaper. 0 or -errno. */
int ab_process_init(void);
/* The signal that asked this process to end, 0 if none did. */
int ab_process_signal(void);
/* Another one came after the first. */
bool ab_process_impatient(void);

/* 0 once the program runs; -errno if it could not be started (*process then holds what it printed). */
int ab_process_start(struct ab_process *process, const struct ab_spawn *spawn);

enum ab_event {
	AB_EVENT_CLIENT_ENDED,
	AB_EVENT_SERVER_ENDED,
	AB_EVENT_OUTPUT, /* of the server */
	AB_EVENT_TIMEOUT,
	AB_EVENT_SIGNAL, /* once for each */
};
/* Waits for one of these until deadline_ns (CLOCK_MONOTONIC); moves output meanwhile. Either process may be NULL or over. */
enum ab_event ab_process_wait(struct ab_process *client, struct ab_process *server, int64_t deadline_ns);

/* Ends the process and all of its group: SIGTERM, and SIGKILL after grace_ms (0: at once). Reaps it, takes the rest of its output. One that cannot be
 * ended (ab_sweep_reap()) is left alone. */
void ab_process_end(struct ab_process *process, int grace_ms);
/* The last line that it printed (to stderr if it printed there); overwritten by the next call. "" if none. */
const char *ab_process_last_words(const struct ab_process *process);
void ab_process_free(struct ab_process *process);

/* "exit status 3", "signal 9 (Killed)": in `buffer`. */
#define AB_STATUS_BYTES 64
const char *ab_status_text(char buffer[AB_STATUS_BYTES], int status);

#endif
