/* SPDX-License-Identifier: BSD-2-Clause */
/* The last step of a start, by which what an earlier helper left is retired: datapath_commit(). */
#ifndef SMACCEL_HELPER_HANDOVER_H
#define SMACCEL_HELPER_HANDOVER_H

#include <sys/types.h>

struct datapath;

struct handover {
	int fd;    /* -1: there is nothing to do */
	pid_t pid; /* of the child that waits behind it */
};

/* While the capabilities are there, and no thread. 0 or -errno. */
int handover_prepare(struct handover *handover, struct datapath *datapath);
/* After all that can fail. 0, or -errno with a line on stderr. */
int handover_commit(struct handover *handover, struct datapath *datapath);
/* Without it, unless it is over: nothing is changed. */
void handover_close(struct handover *handover);

#endif
