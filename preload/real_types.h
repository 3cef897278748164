/* SPDX-License-Identifier: BSD-2-Clause */
/* The types that the prototypes in intercept.def need. */
#ifndef SMACCEL_REAL_TYPES_H
#define SMACCEL_REAL_TYPES_H

#ifndef _GNU_SOURCE
#error "the shim is built with -D_GNU_SOURCE"
#endif

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#endif
