/*-------------------------------------------------------------------------
 *
 * dist_ddl.h
 *	  Statements about distributed tables reach every server or are refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DIST_DDL_H
#define DIST_DDL_H

/* Define the setting and the hooks.  Called once, by DistInit. */
extern void DistDdlInit(void);

#endif							/* DIST_DDL_H */
