/* SPDX-License-Identifier: BSD-2-Clause */
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void words_add(char *buffer, size_t bytes, const char *format, ...)
{
	size_t used = strlen(buffer);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(buffer + used, bytes - used, format, arguments);
	va_end(arguments);
}
