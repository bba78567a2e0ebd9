/*
 * cppcheck.h
 *	  What cppcheck must know of PostgreSQL's headers, which it does not read.
 *
 * Forced in front of every file by dev/lint; never compiled.
 */
#define PG_VERSION_NUM 150000
#define VECDIST_DEBUG_POINTS 1

/* An error does not return. */
#define ERROR 21
#define ereport(elevel, ...) do { if ((elevel) >= ERROR) exit(1); } while (0)
#define elog(elevel, ...) do { if ((elevel) >= ERROR) exit(1); } while (0)
#define Assert(condition) do { if (!(condition)) exit(1); } while (0)
#define pg_unreachable() exit(1)
#define pg_attribute_noreturn() __attribute__((noreturn))

/* The loop macros declare or assign what the body uses. */
#define lfirst(lc) ((lc)->ptr_value)
#define foreach(cell, lst) \
	for (cell = list_head(lst); cell != NULL; cell = lnext(lst, cell))
#define forboth(cell1, list1, cell2, list2) \
	for (cell1 = list_head(list1), cell2 = list_head(list2); \
		 cell1 != NULL && cell2 != NULL; \
		 cell1 = lnext(list1, cell1), cell2 = lnext(list2, cell2))
#define dlist_foreach(iter, head) for (dlist_start(&(iter), head); (iter).cur;)
#define dlist_foreach_modify(iter, head) dlist_foreach(iter, head)
#define slist_foreach(iter, head) dlist_foreach(iter, head)
#define slist_foreach_modify(iter, head) dlist_foreach(iter, head)

#define PG_TRY() do {
#define PG_CATCH() } while (0); do {
#define PG_FINALLY() } while (0); do {
#define PG_END_TRY() } while (0)
