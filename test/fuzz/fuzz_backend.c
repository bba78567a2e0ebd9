/*-------------------------------------------------------------------------
 *
 * fuzz_backend.c
 *	  The few functions of the server that the types call, for fuzzing them
 *	  in a program of its own.
 *
 * Every palloc() is one malloc(), so that AddressSanitizer sees who writes or
 * reads beyond its end; they are freed together, as a memory context would be.
 * An error is remembered and jumps back to FuzzCall().
 *
 * What is missing here, and not in libpgcommon either, is resolved to address
 * zero: whoever calls it ends the program, with a stack that shows where.  So
 * do failed assertions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "fuzz_backend.h"

/* Ours is instrumented, PostgreSQL's is not. */
#undef vsnprintf
#undef fprintf

/* The linker sends callers of PostgreSQL's function to ours: --wrap. */
extern int	__real_float_to_shortest_decimal_bufn(float f, char *result);
extern int	__wrap_float_to_shortest_decimal_bufn(float f, char *result);

#define MAX_CHUNKS 1000

static void *chunks[MAX_CHUNKS];
static int	num_chunks = 0;

/* of the last error */
static int	sqlstate;
static char message[1024];
static sigjmp_buf *handler = NULL;

static void *allocate(Size size);

void
FuzzFail(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: violated: %s (last error: %s)\n",
			file, line, condition, message);
	abort();
}

/* Keep track of a new chunk; its content is different each time. */
static void *
allocate(Size size)
{
	static unsigned char junk = 0;
	void	   *result;

	FUZZ_REQUIRE(AllocSizeIsValid(size));
	FUZZ_REQUIRE(num_chunks < MAX_CHUNKS);
	result = malloc(size);
	FUZZ_REQUIRE(result != NULL);
	memset(result, junk++, size);
	chunks[num_chunks++] = result;
	return result;
}

void
FuzzReset(void)
{
	while (num_chunks > 0)
		free(chunks[--num_chunks]);
}

int
FuzzCall(PGFunction function, Datum *result, Datum arg0, Datum arg1, Datum arg2)
{
	LOCAL_FCINFO(fcinfo, 3);
	sigjmp_buf	here;

	InitFunctionCallInfoData(*fcinfo, NULL, 3, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = arg0;
	fcinfo->args[1].value = arg1;
	fcinfo->args[2].value = arg2;
	fcinfo->args[0].isnull = fcinfo->args[1].isnull = fcinfo->args[2].isnull = false;

	handler = &here;
	if (sigsetjmp(here, 0) == 0)
	{
		*result = function(fcinfo);
		sqlstate = 0;
	}
	handler = NULL;
	return sqlstate;
}

/* ----------
 * Memory
 * ----------
 */

void *
palloc(Size size)
{
	return allocate(size);
}

void *
palloc0(Size size)
{
	return memset(allocate(size), 0, size);
}

void *
palloc_mul(Size s1, Size s2)
{
	FUZZ_REQUIRE(s2 == 0 || s1 <= MaxAllocSize / s2);
	return allocate(s1 * s2);
}

void
pfree(void *pointer)
{
	int			i = num_chunks - 1;

	while (i >= 0 && chunks[i] != pointer)
		i--;
	FUZZ_REQUIRE(i >= 0);
	chunks[i] = chunks[--num_chunks];
	free(pointer);
}

void *
repalloc(void *pointer, Size size)
{
	int			i = num_chunks - 1;

	while (i >= 0 && chunks[i] != pointer)
		i--;
	FUZZ_REQUIRE(i >= 0 && AllocSizeIsValid(size));
	chunks[i] = realloc(pointer, size);
	FUZZ_REQUIRE(chunks[i] != NULL);
	return chunks[i];
}

char *
pnstrdup(const char *in, Size len)
{
	Size		used = strnlen(in, len);
	char	   *result = allocate(used + 1);

	memcpy(result, in, used);
	result[used] = '\0';
	return result;
}

/* The fuzzer makes values that are neither compressed nor out of line. */
struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

/* ----------
 * Errors.  Formatting the texts shows whether their arguments are sound.
 * ----------
 */

bool
errstart(int elevel, const char *domain)
{
	FUZZ_REQUIRE(elevel == ERROR);
	sqlstate = ERRCODE_INTERNAL_ERROR;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int code)
{
	sqlstate = code;
	return 0;
}

static int
format(const char *fmt, va_list args)
{
	FUZZ_REQUIRE(vsnprintf(message, sizeof(message), fmt, args) > 0);
	return 0;
}

int
errmsg(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	format(fmt, args);
	va_end(args);
	return 0;
}

int
errdetail(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	format(fmt, args);
	va_end(args);
	return 0;
}

int
errhint(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	format(fmt, args);
	va_end(args);
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	FUZZ_REQUIRE(handler != NULL);
	siglongjmp(*handler, 1);
}

/* ----------
 * Messages of the binary protocol
 * ----------
 */

static const char *
take(StringInfo msg, int n)
{
	if (n < 0 || n > msg->len - msg->cursor)
		ereport(ERROR,
				errcode(ERRCODE_PROTOCOL_VIOLATION),
				errmsg("insufficient data left in message"));
	msg->cursor += n;
	return msg->data + msg->cursor - n;
}

unsigned int
pq_getmsgint(StringInfo msg, int b)
{
	const unsigned char *p = (const unsigned char *) take(msg, b);
	unsigned int result = 0;

	for (int i = 0; i < b; i++)
		result = result << 8 | p[i];
	return result;
}

float4
pq_getmsgfloat4(StringInfo msg)
{
	uint32		bits = pq_getmsgint(msg, sizeof(bits));
	float4		result;

	memcpy(&result, &bits, sizeof(result));
	return result;
}

void
pq_copymsgbytes(StringInfo msg, char *buf, int datalen)
{
	memcpy(buf, take(msg, datalen), datalen);
}

void
pq_begintypsend(StringInfo buf)
{
	initStringInfo(buf);
	appendStringInfoSpaces(buf, VARHDRSZ);
}

bytea *
pq_endtypsend(StringInfo buf)
{
	SET_VARSIZE(buf->data, buf->len);
	return (bytea *) buf->data;
}

void
pq_sendfloat4(StringInfo buf, float4 f)
{
	uint32		bits;

	memcpy(&bits, &f, sizeof(bits));
	pq_sendint32(buf, bits);
}

/* ----------
 * Arrays
 * ----------
 */

int32 *
ArrayGetIntegerTypmods(ArrayType *arr, int *n)
{
	FuzzTypmods *typmods = (FuzzTypmods *) arr;

	*n = typmods->n;
	return typmods->modifier;
}

bool
array_contains_nulls(ArrayType *array)
{
	int			n = ARR_NDIM(array) > 0 ? 1 : 0;

	for (int i = 0; i < ARR_NDIM(array); i++)
		n *= ARR_DIMS(array)[i];
	for (int i = 0; ARR_HASNULL(array) && i < n; i++)
	{
		if (!(ARR_NULLBITMAP(array)[i / 8] & 1 << i % 8))
			return true;
	}
	return false;
}

/* ----------
 * Numbers as text, written where AddressSanitizer checks it
 * ----------
 */

int
__wrap_float_to_shortest_decimal_bufn(float f, char *result)
{
	char		digits[FLOAT_SHORTEST_DECIMAL_LEN];
	int			length = __real_float_to_shortest_decimal_bufn(f, digits);

	memcpy(result, digits, length);
	return length;
}

int
pg_ltoa(int32 value, char *result)
{
	char		digits[12];
	int			length = sprintf(digits, "%d", value);

	memcpy(result, digits, length + 1);
	return length;
}
