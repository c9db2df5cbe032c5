/** @module A table, wide ones to be scrolled. */
import type { Child } from "hono/jsx";

export interface Column {
  readonly name: string;
  /** Set flush right. */
  readonly isNumber?: boolean;
}

export interface TableProps {
  readonly caption?: string;
  readonly columns: readonly Column[];
  /** `[rows][columns]`; a row's first cell is its heading. */
  readonly rows: readonly (readonly Child[])[];
}

export function numbers(...names: readonly string[]): Column[] {
  return names.map((name) => ({ name, isNumber: true }));
}

export function texts(...names: readonly string[]): Column[] {
  return names.map((name) => ({ name }));
}

export function Table({ caption, columns, rows }: TableProps) {
  const classOf = (place: number) => (columns[place]?.isNumber ? { class: "number" } : {});
  return (
    <div class="scroll">
      <table>
        {caption !== undefined && <caption>{caption}</caption>}
        <thead>
          <tr>
            {columns.map(({ name }, place) => (
              <th scope="col" {...classOf(place)}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([heading, ...cells]) => (
            <tr>
              <th scope="row">{heading}</th>
              {cells.map((cell, place) => (
                <td {...classOf(place + 1)}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
