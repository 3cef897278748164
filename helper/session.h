/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions: one per process under the shim. Its channel, its memory, the ends it owns. */
#ifndef SMACCEL_HELPER_SESSION_H
#define SMACCEL_HELPER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "dispatch.h"
#include "hash.h"
#include "wire/latency.h"
#include "wire/memory.h"
#include "wire/reason.h"

struct group;
struct helper;
struct latency_memory;
struct registry_end;
struct sessions;

#define SESSION_PAGE_BYTES 4096u
#define SESSION_PAGES ((SESSION_BYTES + SESSION_PAGE_BYTES - 1) / SESSION_PAGE_BYTES)

struct session {
	struct channel channel; /* its uid is the authoritative one, from the HELLO's credentials */
	uint64_t id;            /* never used again, never 0 */
	uint32_t pid;
	char comm[17]; /* a claim, for display */
	int memory_fd;
	struct session_memory *memory; /* hostile: checked when read, never waited on */
	struct group *group;           /* NULL: none */
	struct registry_end *ends;     /* head of the list that registry.c keeps */
	bool keeps_pages;              /* its file is sealed against holes */
	uint8_t touched[(SESSION_PAGES + 7) / 8];
	int lost;
	struct session *next, *prev; /* while it dissolves */
	UT_hash_handle hh;
};

struct sessions *sessions_new(struct helper *helper); /* NULL: out of memory */
void sessions_free(struct sessions *sessions);        /* closes them all */
void sessions_set_off(struct sessions *sessions, bool off);
void sessions_each(struct sessions *sessions, void (*visit)(struct session *session, void *context), void *context);
struct session *sessions_first(const struct sessions *sessions); /* the others by hh.next */
/* What processes have spent waiting awake, by their own account: those that are gone, and one that lives. */
struct session_spin {
	uint64_t ns, count, hits;
};
struct session_spin sessions_past_spin(const struct sessions *sessions);
void session_spin_add(const struct session *session, struct session_spin *sum);

uint32_t sessions_count(const struct sessions *sessions);
struct session *session_find(struct sessions *sessions, uint64_t id); /* NULL: gone; a dissolving one is found */
struct session *session_of(struct channel *channel);

int session_handle_hello(struct request *request);
int session_handle_ping(struct request *request);

/* The cell of that index; NULL for an index out of range, and for a page that its process has never written to (so that a
 * client cannot make the helper fill its memory). */
struct memory_cell *session_cell(struct session *session, uint32_t index);
/* What follows the cells (wire/latency.h); NULL if the process has recorded nothing yet. */
struct latency_memory *session_latency(struct session *session);
/* Calls visit with a copy of each cell that shows a connection, until it returns false. */
void session_each_cell(struct session *session,
		       bool (*visit)(struct session *session, uint32_t index, const struct memory_cell *cell,
				     void *context),
		       void *context);
/* Status bits of a cell. A status of another generation counts as no bits. */
void session_status_change(struct session *session, uint32_t cell, uint32_t generation, uint32_t clear, uint32_t set);
/* For those who wait for a change of it. */
void session_status_wake(struct session *session, uint32_t cell);
/* Whether the word waits for an answer. */
bool session_word_pending(const struct memory_cell *cell, uint32_t generation);
/* Answers: PENDING -> CELL_DONE or CELL_REFUSED. False: it was abandoned. The waiter sleeps on until it is woken. */
bool session_word_settle(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason);
void session_wake(_Atomic uint32_t *word); /* who sleeps on that word of a session memory */
/* Both. */
bool session_word_answer(struct memory_cell *cell, uint32_t generation, uint32_t state, enum sm_reason reason);
/* ABANDONED -> IDLE: the fd of a request that was given up has been put away, the connection is the application's alone. */
void session_word_clear(struct memory_cell *cell, uint32_t generation);
/* An fd of that cell that could not be closed on the spot is closed now. */
void session_fd_closed(struct sessions *sessions, const struct reaper_tag *tag);

#endif
