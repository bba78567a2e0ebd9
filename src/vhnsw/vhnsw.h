/*-------------------------------------------------------------------------
 *
 * vhnsw.h
 *	  What the rest of vecdist may know about the vhnsw access method.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_H
#define VHNSW_H

/* Defines the settings, the index options and the hook that learns LIMIT. */
extern void VhnswInit(void);

#endif							/* VHNSW_H */
