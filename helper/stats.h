/* SPDX-License-Identifier: BSD-2-Clause */
/* What the command line asks for: status and connections as JSON, the kill switch. */
#ifndef SMACCEL_HELPER_STATS_H
#define SMACCEL_HELPER_STATS_H

struct helper;
struct request;

int stats_open(struct helper *helper); /* sets helper->stats. 0 or -errno */
void stats_close(struct helper *helper);
/* A child process ended (SIGCHLD). */
void stats_child_ended(struct helper *helper);

int stats_handle_status(struct request *request);
int stats_handle_connections(struct request *request);
int stats_handle_switch(struct request *request); /* WIRE_OFF, WIRE_ON */

#endif
